//! The marks by which runners and scripts fold parts of a log: `section_start:1700000000:build[collapsed=true]` and
//! `section_end:1700000000:build`, each ended by a carriage return.

/// Longest mark that is recognised, in characters.
pub(super) const MARK_LIMIT: usize = 400;

/// A mark at the end of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) start: bool,
    pub(super) at_secs: i64,
    pub(super) name: String,
    pub(super) collapsed: bool,
    pub(super) hide_duration: bool,
    /// How many characters it has.
    pub(super) length: usize,
}

/// Finds the mark that `text` ends with.
pub(super) fn find_mark(text: &str) -> Option<Mark> {
    let from = text.rfind("section_")?;
    let mark = &text[from..];
    let (start, rest) = match mark.strip_prefix("section_start:") {
        Some(rest) => (true, rest),
        None => (false, mark.strip_prefix("section_end:")?),
    };
    let (time, rest) = rest.split_once(':')?;
    let (name, options) = match rest.split_once('[') {
        Some((name, options)) => (name, options.strip_suffix(']')?),
        None => (rest, ""),
    };
    let valid = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(valid) || !time.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let has = |option: &str| options.split(',').any(|it| it.trim() == option);
    Some(Mark {
        start,
        at_secs: time.parse().ok()?,
        name: name.to_owned(),
        collapsed: has("collapsed=true"),
        hide_duration: has("hide_duration=true"),
        length: mark.chars().count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(bool, &str, bool, usize)>) {
        let found = find_mark(text);
        let found = found
            .as_ref()
            .map(|it| (it.start, it.name.as_str(), it.collapsed, it.length));
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn marks_are_found_at_the_end_of_a_text() {
        check("section_start:1:build", Some((true, "build", false, 21)));
        check(
            "ä section_start:1:a[collapsed=true,hide_duration=true]",
            Some((true, "a", true, 52)),
        );
        check("section_end:9:a.b-c_d", Some((false, "a.b-c_d", false, 21)));
        for bad in [
            "",
            "section_",
            "section_start:x:a",
            "section_start:1:",
            "section_start:1:a b",
            "section_start:1:a[collapsed",
            "section_middle:1:a",
            "section_start:99999999999999999999999:a",
        ] {
            check(bad, None);
        }
    }
}
