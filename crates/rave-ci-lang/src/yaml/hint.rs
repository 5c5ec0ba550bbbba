//! What the author of a text that is no YAML probably has to change.

use super::cursor::Mark;
use super::heredoc;
use super::token::SyntaxError;

/// Returns the cure for an error in `text`, whose first line is line `first_line` of its file.
pub(super) fn syntax_hint(error: &SyntaxError, text: &str, first_line: u32) -> Option<String> {
    if let Some(cut) = heredoc::cut(text)
        .into_iter()
        .find(|it| it.end <= error.at.line)
    {
        return Some(cut.hint(first_line));
    }
    let line = |mark: Mark| first_line.saturating_add(mark.line);
    let start = error.began;
    let found = character(text, error.at);
    let began = character(text, start);
    Some(match (error.problem, found) {
        ("found character that cannot start any token", Some('\t')) => {
            "indent with spaces: this line has a tab".to_owned()
        }
        ("found character that cannot start any token", Some(found)) => {
            format!("quote text that begins with `{found}`")
        }
        ("control characters are not allowed", Some(found)) => {
            format!("remove the character U+{:04X}", u32::from(found))
        }
        ("mapping values are not allowed in this context", _) => {
            "quote text that has `: ` in it; a key has to begin where the keys beside it begin"
                .to_owned()
        }
        ("did not find expected key" | "did not find expected '-' indicator", _) => {
            let (what, column, here) = (
                if error.problem.ends_with("key") {
                    "keys of the map"
                } else {
                    "items of the list"
                },
                start.column + 1,
                error.at.column + 1,
            );
            if column == here {
                return None;
            }
            format!(
                "the {what} from line {} begin in column {column}, this begins in column {here}",
                line(start)
            )
        }
        ("could not find expected ':'", _) => {
            "a key needs `:` after it; text that goes on here needs more indentation or `|`"
                .to_owned()
        }
        ("did not find expected ',' or ']'", _) => {
            format!(
                "close the `[` of line {}, or quote what it is part of",
                line(start)
            )
        }
        ("did not find expected ',' or '}'", _) => {
            format!(
                "close the `{{` of line {}, or quote what it is part of",
                line(start)
            )
        }
        ("found unexpected end of stream" | "found unexpected document indicator", _) => {
            format!("close the quote of line {}", line(start))
        }
        (
            "did not find expected alphabetic or numeric character"
            | "did not find expected whitespace or line break"
            | "found undefined tag handle"
            | "did not find expected tag URI",
            _,
        ) => format!("quote text that begins with `{}`", began?),
        ("found unknown escape character" | "did not find expected hexdecimal number", _) => {
            "use single quotes: in double quotes `\\` begins an escape".to_owned()
        }
        ("block sequence entries are not allowed in this context", _) => {
            "begin the list on a line of its own, and quote text that begins with `- `".to_owned()
        }
        ("found unexpected ':'", _) => "quote this text, or put a blank after the `:`".to_owned(),
        ("did not find expected comment or line break", _) => {
            "the text of `|` and `>` begins on the next line".to_owned()
        }
        _ => return None,
    })
}

fn character(text: &str, at: Mark) -> Option<char> {
    text.chars().nth(at.index)
}

#[cfg(test)]
mod tests {
    use crate::Limits;
    use crate::report::Report;
    use crate::yaml::Loader;

    fn check(text: &str, expected: &str) {
        let limits = Limits::default();
        let error = Loader::new(&limits).load(0, text, &mut Report::default());
        let error = error.expect_err(text);
        assert_eq!(
            error.hint.unwrap_or_default(),
            expected,
            "{text:?}: {}",
            error.message
        );
    }

    #[test]
    fn each_error_has_its_cure() {
        check("a:\n\tb: c", "indent with spaces: this line has a tab");
        check("a: @b", "quote text that begins with `@`");
        check("a: *.log", "quote text that begins with `*`");
        check("a: !x!y z", "quote text that begins with `!`");
        check("a: b\u{1}", "remove the character U+0001");
        check(
            "a: [b\nc: d",
            "close the `[` of line 1, or quote what it is part of",
        );
        check(
            "a: {b\nc: d",
            "close the `{` of line 1, or quote what it is part of",
        );
        check("a: 'b\nc: d", "close the quote of line 1");
        check(
            r#"a: "\d""#,
            "use single quotes: in double quotes `\\` begins an escape",
        );
        check(
            "a:\n  b: c\n d: e",
            "the keys of the map from line 1 begin in column 1, this begins in column 2",
        );
        check(
            "a: b\nc\nd: e",
            "a key needs `:` after it; text that goes on here needs more indentation or `|`",
        );
        check(
            "a: - b",
            "begin the list on a line of its own, and quote text that begins with `- `",
        );
        check("a: | b", "the text of `|` and `>` begins on the next line");
        check("{a:[b]}", "quote this text, or put a blank after the `:`");
        check(
            "a: b: c",
            "quote text that has `: ` in it; a key has to begin where the keys beside it begin",
        );
    }

    #[test]
    fn a_cut_heredoc_is_named() {
        let text = "a:\n  script:\n    - |\n      cat > f <<EOF\nb\nEOF\n      ls\n";
        let hint = "line 5 ends the block of line 3 inside the heredoc `EOF` of line 4: indent it as far as line 4";
        check(text, hint);
        check(
            &format!("# x\n---\n{text}"),
            &hint.replace("5", "7").replace("3", "5").replace("4", "6"),
        );
    }
}
