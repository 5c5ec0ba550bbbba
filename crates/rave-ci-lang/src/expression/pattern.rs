//! Regular expressions as RE2 reads them, carried out by an engine with slightly other rules.
//!
//! Both are linear in the text. What differs is rewritten: classes such as `\d` are ASCII, a class does not nest, a
//! brace that is no repetition is text, and a repetition ends at 1000.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use super::{Expression, InvalidExpression};
use crate::Limits;

const MAX_REPEAT: u32 = 1000;
/// How much longer than its text a pattern may be once it is compiled.
const COMPILED: usize = 64;

/// A compiled pattern, searched for anywhere in a text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Rc<Regex>);

/// The patterns and expressions of one compilation, each read once: `extends` brings one rule into many jobs.
///
/// Compiling is the dear part, so one file gets only so many different patterns.
pub(crate) struct Patterns {
    limits: Limits,
    /// Which limit was in the way of what was read last.
    exceeded: Cell<Option<String>>,
    patterns: RefCell<HashMap<String, Option<Pattern>>>,
    expressions: RefCell<HashMap<String, Result<Rc<Expression>, InvalidExpression>>>,
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").finish_non_exhaustive()
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

impl Patterns {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            exceeded: Cell::default(),
            patterns: RefCell::default(),
            expressions: RefCell::default(),
        }
    }

    /// Returns, once, which limit was in the way of the expression that was read last.
    pub(crate) fn exceeded(&self) -> Option<String> {
        self.exceeded.take()
    }

    /// Returns whether an expression may have so many words and signs.
    pub(super) fn allows_tokens(&self, count: usize) -> bool {
        let limit = self.limits.expression_tokens;
        let allowed = count <= limit;
        if !allowed {
            self.refuse(|| {
                let setting = "`ci.max_expression_tokens`";
                format!("it has more than {limit} words and signs (setting {setting})")
            });
        }
        allowed
    }

    fn refuse(&self, why: impl FnOnce() -> String) {
        self.exceeded.set(Some(why()));
    }

    /// Returns the pattern of a text of the form `/body/flags`. `None` if it has another form, does not compile, or comes
    /// after too many others.
    pub(crate) fn find(&self, text: &str) -> Option<Pattern> {
        let (body, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
        flags.chars().all(|it| "ismU".contains(it)).then_some(())?;
        let mut known = self.patterns.borrow_mut();
        if let Some(pattern) = known.get(text) {
            return pattern.clone();
        }
        let limit = self.limits.patterns;
        if known.len() >= limit {
            self.refuse(|| {
                format!(
                    "there are more than {limit} different patterns (setting `ci.max_patterns`)"
                )
            });
            return None;
        }
        let pattern = self.compiled(body, flags);
        known.insert(text.to_owned(), pattern.clone());
        pattern
    }
}

impl Patterns {
    /// Returns the expression of a text.
    pub(crate) fn expression(&self, text: &str) -> Result<Rc<Expression>, InvalidExpression> {
        if let Some(known) = self.expressions.borrow().get(text) {
            return known.clone();
        }
        self.exceeded.take();
        let parsed = Expression::parse(text, self).map(Rc::new);
        let mut known = self.expressions.borrow_mut();
        known.insert(text.to_owned(), parsed.clone());
        parsed
    }
}

impl Patterns {
    /// Compiles a body with flags out of `ismU`.
    fn compiled(&self, body: &str, flags: &str) -> Option<Pattern> {
        let limit = self.limits.pattern_bytes;
        let too_long = || {
            format!(
                "the pattern is longer than {limit} bytes, or than {COMPILED} times that when it is compiled (setting `ci.max_pattern_bytes`)"
            )
        };
        if body.len() > limit {
            self.refuse(too_long);
            return None;
        }
        let built = RegexBuilder::new(&translate(body)?)
            .case_insensitive(flags.contains('i'))
            .dot_matches_new_line(flags.contains('s'))
            .multi_line(flags.contains('m'))
            .swap_greed(flags.contains('U'))
            .size_limit(limit.saturating_mul(COMPILED))
            .nest_limit(100)
            .build();
        if let Err(regex::Error::CompiledTooBig(_)) = built {
            self.refuse(too_long);
        }
        built.ok().map(|it| Pattern(Rc::new(it)))
    }
}

impl Pattern {
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Rewrites a pattern of RE2. `None` for what RE2 refuses and the engine would take.
fn translate(body: &str) -> Option<String> {
    let mut out = String::with_capacity(body.len() + 16);
    let mut rest = body;
    let mut in_class = false;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        rest = after;
        match char {
            '\\' => rest = escape(after, in_class, &mut out)?,
            '[' if in_class => match after.starts_with(':').then(|| after.find(":]")).flatten() {
                Some(end) => {
                    out += &format!("[{}", &after[..end + 2]);
                    rest = &after[end + 2..];
                }
                None => out += r"\[",
            },
            '[' => {
                in_class = true;
                let (open, first) = if let Some(first) = after.strip_prefix('^') {
                    ("[^", first)
                } else {
                    ("[", after)
                };
                out += open;
                rest = first;
                if let Some(first) = first.strip_prefix(']') {
                    out += r"\]";
                    rest = first;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => out.extend(['\\', char]),
            '-' if in_class && out.ends_with('-') => out += r"\-",
            '{' if !in_class => match repetition(after) {
                Some((_, most)) if most > MAX_REPEAT => return None,
                Some((length, _)) => {
                    out += &format!("{{{}", &after[..length]);
                    rest = &after[length..];
                }
                None => out += r"\{",
            },
            '(' if !in_class && after.starts_with('?') && !known_group(&after[1..]) => return None,
            char => out.push(char),
        }
    }
    Some(out)
}

/// Translates what follows a backslash and returns what comes after it.
fn escape<'a>(after: &'a str, in_class: bool, out: &mut String) -> Option<&'a str> {
    let char = after.chars().next()?;
    let rest = &after[char.len_utf8()..];
    let class = match char {
        'd' => "0-9",
        'D' => "^0-9",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        'S' => r"^\t\n\f\r ",
        _ => "",
    };
    match char {
        _ if !class.is_empty() => *out += &format!("[{class}]"),
        'b' if !in_class => *out += r"(?-u:\b)",
        'Q' => {
            let (text, after) = rest.split_once(r"\E").unwrap_or((rest, ""));
            *out += &regex::escape(text);
            return Some(after);
        }
        'p' | 'P' if rest.starts_with('{') => {
            let end = rest.find('}')? + 1;
            *out += &format!("\\{char}{}", &rest[..end]);
            return Some(&rest[end..]);
        }
        // The engine takes these for word boundaries.
        '<' | '>' => out.push(char),
        char if char.is_ascii() => out.extend(['\\', char]),
        char => out.push(char),
    }
    Some(rest)
}

/// Reads `2}`, `2,}` or `2,3}`: its length and greatest number. `None` when the brace is text.
fn repetition(text: &str) -> Option<(usize, u32)> {
    let end = text.find('}')?;
    let (low, high) = text[..end].split_once(',').unwrap_or((&text[..end], ""));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let low = number(low)?;
    let high = if high.is_empty() { 0 } else { number(high)? };
    Some((end + 1, low.max(high)))
}

/// Returns whether RE2 knows the group that starts with `(?`.
fn known_group(text: &str) -> bool {
    let flags = text
        .find(|it: char| !"imsU-".contains(it))
        .map_or("", |it| &text[it..]);
    text.starts_with("P<")
        || text.starts_with('<')
        || flags.starts_with(':')
        || flags.starts_with(')')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn re2_rules() {
        let check = |pattern: &str, text: &str, expected: Option<bool>| {
            assert_eq!(
                Patterns::default()
                    .compiled(pattern, "")
                    .map(|it| it.is_match(text)),
                expected,
                "{pattern} on {text}"
            );
        };
        check(r"^\d$", "٣", Some(false));
        check(r"^.$", "é", Some(true));
        check(r"^[\w-]+$", "a-b_1", Some(true));
        check(r"^[^\s]$", "x", Some(true));
        check(r"^[\D]$", "x", Some(true));
        check(r"^[a[b]$", "[", Some(true));
        check(r"^[a&&b]$", "&", Some(true));
        check(r"^[]a]$", "]", Some(true));
        check(r"^[[:digit:]x]$", "4", Some(true));
        check(r"^a{$", "a{", Some(true));
        check(r"^a{,2}$", "a{,2}", Some(true));
        check(r"^a{2,3}$", "aaa", Some(true));
        check(r"^\Qa.b\E.$", "a.bx", Some(true));
        check(r"^\<$", "<", Some(true));
        check(r"\bx\b", "a x b", Some(true));
        check(r"a\/b", "a/b", Some(true));
        check(r"(?i)A", "a", Some(true));
        check(r"a{1001}", "", None);
        check(r"(?x) a", "", None);
        check(r"(?=a)", "", None);
        check(r"(a)\1", "", None);
        check(r"\Z", "", None);
        check("(", "", None);
        check(&"(".repeat(5000), "", None);
        check("((a{1000}){1000}){1000}", "", None);
    }

    proptest! {
        #[test]
        fn never_panics(body in r"[\[\](){}?*+|\\^$:&~a-dQEPUims<>é0-9,-]{0,24}", text in "[a-dé]{0,8}") {
            if let Some(pattern) = Patterns::default().compiled(&body, "m") {
                pattern.is_match(&text);
            }
        }
    }
}
