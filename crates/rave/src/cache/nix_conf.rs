//! Changes of `nix.conf` and `netrc` that leave everything else in them as it was written.

/// Returns the text of a `nix.conf` with a value among those of a setting, and whether it changed.
///
/// The value joins the last line that counts for the setting, which may be its `extra-` form. Without one an `extra-` line
/// is added, because a plain one would take away what Nix has by default.
pub(super) fn with_value(text: &str, setting: &str, value: &str) -> (String, bool) {
    let extra = format!("extra-{setting}");
    let mut last = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let Some((key, values, end)) = assignment(line) else {
            start += line.len();
            continue;
        };
        if key == setting || key == extra {
            if values.split_whitespace().any(|it| it == value) {
                last = Some(None);
            } else if key == setting || last != Some(None) {
                last = Some(Some(start + end));
            }
        }
        start += line.len();
    }
    match last {
        Some(None) => (text.to_owned(), false),
        Some(Some(end)) => (format!("{} {value}{}", &text[..end], &text[end..]), true),
        None => (with_line(text, &format!("{extra} = {value}")), true),
    }
}

/// Returns the value of a setting that has one.
pub(super) fn value<'t>(text: &'t str, setting: &str) -> Option<&'t str> {
    let lines = text.lines().filter_map(assignment);
    lines
        .filter(|it| it.0 == setting)
        .map(|it| it.1.trim())
        .next_back()
}

/// Returns the text with one more line at its end.
pub(super) fn with_line(text: &str, line: &str) -> String {
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{text}{gap}{line}\n")
}

/// Splits a line into key and values, and says where the values end.
fn assignment(line: &str) -> Option<(&str, &str, usize)> {
    let content = line.split('#').next().unwrap_or_default();
    let (key, values) = content.split_once('=')?;
    Some((key.trim(), values, content.trim_end().len()))
}

/// Returns the text of a `netrc` with a host's password, and whether it changed. A login that is there stays.
pub(super) fn with_password(text: &str, host: &str, password: &str) -> (String, bool) {
    let words = words(text);
    let mut at = 0;
    while at < words.len() {
        match words[at].2 {
            // The text of a macro goes on to an empty line.
            "macdef" => {
                let end = text[words[at].0..]
                    .find("\n\n")
                    .map_or(text.len(), |it| words[at].0 + it);
                at += words[at..].iter().take_while(|it| it.0 < end).count();
            }
            "machine" if words.get(at + 1).is_some_and(|it| it.2 == host) => {
                return in_entry(text, &words[at + 2..], words[at + 1].1, password);
            }
            "default" => {
                // What stands after it would never be found.
                let (front, back) = text.split_at(words[at].0);
                return (
                    format!("{}{back}", with_line(front, &entry(host, password))),
                    true,
                );
            }
            _ => at += 1,
        }
    }
    (with_line(text, &entry(host, password)), true)
}

fn entry(host: &str, password: &str) -> String {
    format!("machine {host} password {password}")
}

/// Changes the entry whose words follow.
fn in_entry(
    text: &str,
    words: &[(usize, usize, &str)],
    after_host: usize,
    password: &str,
) -> (String, bool) {
    for pair in words.chunks(2) {
        match pair {
            [key, value] if key.2 == "password" => {
                let changed = value.2 != password;
                return (
                    format!("{}{password}{}", &text[..value.0], &text[value.1..]),
                    changed,
                );
            }
            [key, _] if matches!(key.2, "login" | "account") => {}
            _ => break,
        }
    }
    (
        format!(
            "{} password {password}{}",
            &text[..after_host],
            &text[after_host..]
        ),
        true,
    )
}

/// Returns the words of a text with where they begin and end.
fn words(text: &str) -> Vec<(usize, usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        match (character.is_whitespace(), start) {
            (true, Some(from)) => {
                words.push((from, at, &text[from..at]));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_joins_what_is_there() {
        let check = |text: &str, expected: &str| {
            let (once, changed) = with_value(text, "substituters", "http://c");
            assert_eq!((once.as_str(), changed), (expected, text != expected));
            assert_eq!(
                with_value(&once, "substituters", "http://c"),
                (once.clone(), false),
                "a second time"
            );
        };
        check("", "extra-substituters = http://c\n");
        check("cores = 2", "cores = 2\nextra-substituters = http://c\n");
        check(
            "substituters = http://a # ours\nx = y\n",
            "substituters = http://a http://c # ours\nx = y\n",
        );
        check(
            "extra-substituters = http://a\n",
            "extra-substituters = http://a http://c\n",
        );
        check("substituters = http://c\n", "substituters = http://c\n");
        check("substituters =\n", "substituters = http://c\n");
        check(
            "# substituters = http://c\n",
            "# substituters = http://c\nextra-substituters = http://c\n",
        );
        check(
            "trusted-substituters = http://c\n",
            "trusted-substituters = http://c\nextra-substituters = http://c\n",
        );
        // What stands later takes the earlier away.
        check(
            "substituters = http://c\nsubstituters = http://a\n",
            "substituters = http://c\nsubstituters = http://a http://c\n",
        );
        check(
            "extra-substituters = http://c\nextra-substituters = http://a\n",
            "extra-substituters = http://c\nextra-substituters = http://a\n",
        );
    }

    #[test]
    fn settings_are_found() {
        assert_eq!(
            value("a = 1\nnetrc-file = /x # y\n", "netrc-file"),
            Some("/x")
        );
        assert_eq!(value("#netrc-file = /x\n", "netrc-file"), None);
    }

    #[test]
    fn a_host_has_one_password() {
        let check = |text: &str, expected: &str| {
            let (once, changed) = with_password(text, "c", "new");
            assert_eq!((once.as_str(), changed), (expected, text != expected));
            assert_eq!(
                with_password(&once, "c", "new"),
                (once.clone(), false),
                "a second time"
            );
        };
        check("", "machine c password new\n");
        check(
            "machine a password x",
            "machine a password x\nmachine c password new\n",
        );
        check(
            "machine c login me password old\n",
            "machine c login me password new\n",
        );
        check(
            "machine c\n  login me\n  password old\nmachine d password y\n",
            "machine c\n  login me\n  password new\nmachine d password y\n",
        );
        check(
            "machine c login me\nmachine d password y\n",
            "machine c password new login me\nmachine d password y\n",
        );
        check(
            "machine cc password x\n",
            "machine cc password x\nmachine c password new\n",
        );
        check(
            "machine a password x\ndefault login b password z\n",
            "machine a password x\nmachine c password new\ndefault login b password z\n",
        );
        check(
            "macdef m\nmachine c password old\n\nmachine a password x\n",
            "macdef m\nmachine c password old\n\nmachine a password x\nmachine c password new\n",
        );
    }
}
