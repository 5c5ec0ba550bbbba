//! Finds shell heredocs that end the block scalar they stand in, because their bodies are not indented.

use std::sync::LazyLock;

use regex::Regex;

static OPENER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:^|[^<\d(])<<-?\s?(?:"(\w+)"|'(\w+)'|\\?([A-Za-z_]\w*))(?:$|[\s;|>&)])"#)
        .expect("the pattern is valid")
});
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|[\s:-])[|>][-+0-9]{0,2}\s*(?:#.*)?$").expect("the pattern is valid")
});

/// A heredoc whose end is not in its block. Lines are counted from 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    pub(super) word: &'a str,
    pub(super) header: u32,
    pub(super) opener: u32,
    /// The line that ends the block.
    pub(super) end: u32,
    /// It cannot be anything but a heredoc: `x << y` also shifts and prints.
    pub(super) certain: bool,
}

impl Cut<'_> {
    /// Says what to do, in a file where the text begins at line `first_line`.
    pub(super) fn hint(&self, first_line: u32) -> String {
        let number = |line: u32| first_line.saturating_add(line);
        format!(
            "line {} ends the block of line {} inside the heredoc `{}` of line {}: indent it as far as line {}",
            number(self.end),
            number(self.header),
            self.word,
            number(self.opener),
            number(self.header + 1),
        )
    }
}

/// Returns the heredocs that are cut off by a line with less indentation than their block.
pub(super) fn cut(text: &str) -> Vec<Cut<'_>> {
    let mut found = Vec::new();
    if !text.contains("<<") {
        return found;
    }
    let mut block: Option<Block> = None;
    let mut open: Option<(Opened<'_>, u32)> = None;
    for (number, line) in (0_u32..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        if let Some(it) = &mut block {
            let inside = *it.indent.get_or_insert(indent) <= indent && indent > it.outside;
            if inside {
                match open {
                    Some((it, _)) if line.trim() == it.word => open = None,
                    Some(_) => {}
                    None => open = opened(line).map(|it| (it, number)),
                }
                continue;
            }
            if let Some((Opened { word, certain }, opener)) = open.take() {
                found.push(Cut {
                    word,
                    certain,
                    header: it.header,
                    opener,
                    end: number,
                });
            }
            block = None;
        }
        if HEADER.is_match(line) && !line.trim_start().starts_with('#') {
            block = Some(Block {
                header: number,
                outside: indent,
                indent: None,
            });
        }
    }
    found
}

struct Block {
    header: u32,
    /// Indentation of the line with `|` or `>`.
    outside: usize,
    indent: Option<usize>,
}

struct Opened<'a> {
    /// The line that ends it.
    word: &'a str,
    certain: bool,
}

/// Returns the heredoc that a line of shell opens.
fn opened(line: &str) -> Option<Opened<'_>> {
    let code = line.trim_start();
    if code.starts_with('#') || !code.contains("<<") {
        return None;
    }
    let found = OPENER.captures(line)?;
    let before = &line[..found.get(0)?.start()];
    if before.matches("((").count() > before.matches("))").count() {
        return None;
    }
    let word = (1..=3).find_map(|it| found.get(it))?.as_str();
    let adjacent = !found[0].contains("<< ") && !found[0].contains("<<- ");
    let capital = !word.contains(|it: char| it.is_lowercase());
    let certain = capital && (adjacent || word.starts_with("EO") || word.starts_with("END"));
    Some(Opened { word, certain })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, u32)]) {
        let found: Vec<(&str, u32)> = cut(text).iter().map(|it| (it.word, it.end)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn bodies_that_end_their_block() {
        check("- |\n  cat <<EOF\nx\nEOF\n", &[("EOF", 2)]);
        check("- |\n  cat <<-'END' > f\n\n x: y\nEND\n", &[("END", 3)]);
        check("- |\n  cat << EOF\nx\n  EOF\n", &[("EOF", 2)]);
        check("a: |\n  cat <<\"E\" | b\nE: x\n", &[("E", 2)]);
    }

    #[test]
    fn what_looks_alike() {
        check("- |\n  cat <<EOF\n  x\n  EOF\n- y\n", &[]);
        check("- |\n  cat <<EOF\n   EOF\n- y\n", &[]);
        check(
            "- |\n  echo $((1 <<N ))\n  cat <<<$x\n  # <<EOF\n- y\n",
            &[],
        );
        check("- |\n  echo $((A<<2))\n  cout << \"x y\";\n- y\n", &[]);
        check("a:\n  <<: *EOF\nb: x <<EOF\nc: y\n", &[]);
        check("# a |\nb: 'c <<EOF'\n", &[]);
        check("- |\n  cat <<EOF\n  x\n", &[]);
    }
}
