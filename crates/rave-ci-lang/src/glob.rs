//! The globs of `changes` and `exists`: Ruby's `File.fnmatch` with path names, dot files and braces.
//!
//! A pattern becomes one regular expression, so matching is linear in the path whatever the pattern is.

use regex::{Regex, RegexBuilder};

/// More alternatives than this are not tried; the rest of the braces counts as text.
const MAX_ALTERNATIVES: usize = 64;
const MAX_PATTERN_BYTES: usize = 1024;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob(Option<Regex>);

impl Glob {
    /// Compiles a pattern, and says how many bytes that took. A pattern that is too big, or malformed like `[`,
    /// matches nothing, as in Ruby.
    pub(crate) fn new(pattern: &str) -> (Self, usize) {
        if pattern.len() > MAX_PATTERN_BYTES {
            return (Self(None), pattern.len());
        }
        let alternatives: Vec<String> = braces(pattern)
            .iter()
            .filter_map(|it| translate(it))
            .collect();
        let cost = pattern.len() + alternatives.iter().map(String::len).sum::<usize>();
        match alternatives.is_empty() {
            true => (Self(None), cost),
            false => (Self::from_regex(&alternatives.join("|")), cost),
        }
    }

    /// Compiles a name of `include:local`: `**/` is any directories, `**` any text, `*` any text without `/`.
    pub(crate) fn wildcard(pattern: &str) -> Self {
        let text = regex::escape(pattern)
            .replace(r"\*\*/", "(?:.*/)?")
            .replace(r"\*\*", ".*")
            .replace(r"\*", "[^/]*");
        Self::from_regex(&text)
    }

    fn from_regex(text: &str) -> Self {
        let text = format!(r"\A(?:{text})\z");
        Self(
            RegexBuilder::new(&text)
                .size_limit(1 << 19)
                .dot_matches_new_line(true)
                .build()
                .ok(),
        )
    }

    /// Returns whether the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.as_ref().is_some_and(|it| it.is_match(path))
    }
}

/// Writes out `{a,b}` as a list of patterns without braces. A brace without partner is text.
fn braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        match first_group(&pattern) {
            Some((from, parts, to))
                if open.len() + done.len() + parts.len() <= MAX_ALTERNATIVES =>
            {
                open.extend(
                    parts
                        .iter()
                        .rev()
                        .map(|part| format!("{}{part}{}", &pattern[..from], &pattern[to..])),
                );
            }
            _ => done.push(pattern),
        }
    }
    done
}

/// Finds the first brace that has a partner: its start, what it lists, and its end.
fn first_group(pattern: &str) -> Option<(usize, Vec<&str>, usize)> {
    let (mut depth, mut start, mut from) = (0_usize, 0, 0);
    let mut parts = Vec::new();
    let mut escaped = false;
    for (at, char) in pattern.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match char {
            '\\' => escaped = true,
            '{' => {
                if depth == 0 {
                    (start, from) = (at, at + 1);
                }
                depth += 1;
            }
            ',' if depth == 1 => {
                parts.push(&pattern[from..at]);
                from = at + 1;
            }
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&pattern[from..at]);
                    return Some((start, parts, at + 1));
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the regular expression of a pattern without braces.
fn translate(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    let mut at_segment = true;
    while let Some(char) = rest.chars().next() {
        if at_segment && rest.starts_with("**/") {
            out += "(?:[^/]+/)*";
            rest = rest[3..].trim_start_matches("**/");
            continue;
        }
        rest = &rest[char.len_utf8()..];
        at_segment = char == '/';
        match char {
            '*' => {
                out += "[^/]*";
                rest = rest.trim_start_matches('*');
            }
            '?' => out += "[^/]",
            '[' => {
                let (class, after) = class(rest)?;
                out += &class;
                rest = after;
            }
            '\\' => {
                let escaped = rest.chars().next().unwrap_or('\\');
                rest = rest.get(escaped.len_utf8()..).unwrap_or("");
                out += &regex::escape(escaped.encode_utf8(&mut [0; 4]));
            }
            char => out += &regex::escape(char.encode_utf8(&mut [0; 4])),
        }
    }
    Some(out)
}

/// Translates what follows `[`. `None` if it does not end.
fn class(text: &str) -> Option<(String, &str)> {
    let negated = text.starts_with(['!', '^']);
    let mut chars = text.char_indices().skip(usize::from(negated)).peekable();
    let mut out = String::from(if negated { "[^/" } else { "[" });
    let mut any = false;
    while let Some((at, mut char)) = chars.next() {
        if char == ']' && any {
            out.push(']');
            return Some((format!("(?:{out})"), &text[at + 1..]));
        }
        if char == '\\' {
            char = chars.next()?.1;
        }
        any = true;
        let mut end = char;
        let mut ahead = chars.clone();
        if ahead.next().is_some_and(|it| it.1 == '-') && ahead.peek().is_some_and(|it| it.1 != ']')
        {
            end = ahead.next()?.1;
            if end == '\\' {
                end = ahead.next()?.1;
            }
            chars = ahead;
        }
        if char <= end {
            out += &format!(r"\x{{{:X}}}-\x{{{:X}}}", u32::from(char), u32::from(end));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors() {
        let matching = "*.rb a.rb|**/*.rb a.rb|**/*.rb d/e/a.rb|d/** d/a|d/**/* d/a|d/**/* d/e/a|d/* d/.h|* .h|**/* .h/x
            |{a,b}.txt b.txt|*.{rb,py} x.py|[abc].t b.t|[!a].t b.t|[^a].t b.t|?.t a.t|a**c abc|a**/c ab/c|**a/c xa/c
            |\\*.t *.t|Dockerfile Dockerfile|** a|{a,{b,c}} c|d/**/x d/x|**/d/* d/x|**/d/**/* x/d/y/z|[a-c]x bx|a{b a{b
            |\\{a,b\\} {a,b}|é* éa|[]a] ]";
        for case in matching.split('|') {
            let (pattern, path) = case.trim().split_once(' ').unwrap();
            assert!(
                Glob::new(pattern).0.matches(path),
                "{pattern} should match {path}"
            );
        }
        let other = "*.rb d/a.rb|d/** d/e/a|d/ d/a|d d/a|a?c a/c|A.t a.t|** a/b|/a a|./a a|[[:alpha:]].t a.t|[a a|[ [
            |{a,b} {a,b}|[c-a] b|a.b axb";
        for case in other.split('|') {
            let (pattern, path) = case.trim().split_once(' ').unwrap();
            assert!(
                !Glob::new(pattern).0.matches(path),
                "{pattern} should not match {path}"
            );
        }
    }

    #[test]
    fn many_alternatives_stay_small() {
        assert!(!Glob::new(&"{a,b}".repeat(60)).0.matches("a"));
        assert!(!Glob::new(&"{".repeat(4000)).0.matches("a"));
        assert!(!Glob::new(&"*a".repeat(2000)).0.matches(&"a".repeat(100)));
    }

    proptest! {
        #[test]
        fn never_panics(pattern in r"[\[\]{}!^*?/\\a-cé,-]{0,20}", path in "[a-c/é]{0,8}") {
            Glob::new(&pattern).0.matches(&path);
        }
    }
}
