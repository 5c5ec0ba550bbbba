//! Replaces secrets in a stream of bytes by `[MASKED]`, whatever the pieces it arrives in.
//!
//! Three rules, in one pass of one automaton: the exact values of masked variables; what follows the prefix of a
//! well-known token; and the value of a URL parameter that carries a token. The leftmost match wins, and of those
//! the longest, so that the result does not depend on how the stream was cut.

use aho_corasick::{AhoCorasick, Input, MatchKind};

const MASK: &[u8] = b"[MASKED]";

/// The prefixes that are masked whatever the server asks for.
const TOKEN_PREFIXES: [&str; 14] = [
    "glpat-",
    "gloas-",
    "gldt-",
    "glrt-",
    "glcbt-",
    "glrtr-",
    "glptt-",
    "glft-",
    "glimt-",
    "glagent-",
    "glsoat-",
    "glffct-",
    "_gitlab_session=",
    "gltok-",
];

/// Parameters whose value is a token. Cloud storage writes its own with capitals.
const URL_PARAMETERS: [&str; 9] = [
    "private_token",
    "authenticity_token",
    "rss_token",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
];

/// What a pattern of the automaton stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The whole match is secret.
    Value,
    /// The match stays and the token characters after it are secret.
    Token,
    /// The match stays and everything up to the end of the parameter is secret.
    Parameter,
}

impl Rule {
    /// Says whether `byte` continues the secret that follows a match of this rule.
    const fn continues(self, byte: u8) -> bool {
        match self {
            Self::Value => false,
            Self::Token => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'=' | b'-')
            }
            Self::Parameter => {
                !byte.is_ascii_whitespace()
                    && !matches!(byte, b'&' | b'"' | b'\'' | b'<' | b'>' | 0x1b)
            }
        }
    }
}

/// A secret that is being skipped.
#[derive(Clone, Copy, Debug)]
struct Inside {
    rule: Rule,
    announced: bool,
}

/// The masker of one stream.
#[derive(Debug)]
pub(crate) struct Masker {
    automaton: Option<AhoCorasick>,
    rules: Vec<Rule>,
    /// The patterns in order, to find whether a suffix begins one of them.
    sorted: Vec<Vec<u8>>,
    first_bytes: [bool; 256],
    longest: usize,
    held: Vec<u8>,
    inside: Option<Inside>,
}

impl Masker {
    /// Makes a masker of `values` and of tokens with the well-known prefixes and `prefixes`.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>, prefixes: &[String]) -> Self {
        let mut patterns: Vec<(Vec<u8>, Rule)> = values
            .into_iter()
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(|it| (it.as_bytes().to_vec(), Rule::Value))
            .collect();
        let known = TOKEN_PREFIXES
            .into_iter()
            .chain(prefixes.iter().map(|it| it.trim()));
        patterns.extend(
            known
                .filter(|it| !it.is_empty())
                .map(|it| (it.as_bytes().to_vec(), Rule::Token)),
        );
        for parameter in URL_PARAMETERS {
            patterns.push((format!("?{parameter}=").into_bytes(), Rule::Parameter));
            patterns.push((format!("&{parameter}=").into_bytes(), Rule::Parameter));
        }
        Self::of(patterns)
    }

    fn of(patterns: Vec<(Vec<u8>, Rule)>) -> Self {
        let (texts, rules): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
        // Building fails only past billions of states. Masking everything is then the safe answer, see `push`.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&texts)
            .ok();
        let mut first_bytes = [false; 256];
        for text in &texts {
            first_bytes[usize::from(text[0])] = true;
        }
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let mut sorted = texts;
        sorted.sort_unstable();
        Self {
            automaton,
            rules,
            sorted,
            first_bytes,
            longest,
            held: Vec::new(),
            inside: None,
        }
    }

    /// Takes the next piece and appends to `out` what is certain by now.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece);
        let kept = self.scan(&held, false, out);
        held.drain(..kept);
        self.held = held;
    }

    /// Ends the stream: what was held back can no longer become a secret, except one that is complete.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        self.scan(&held, true, out);
        self.inside = None;
    }

    /// Scans `bytes` and returns where the part begins that must be held back.
    fn scan(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> usize {
        let Some(automaton) = &self.automaton else {
            out.extend_from_slice(MASK);
            return bytes.len();
        };
        let mut at = 0;
        let mut open = if last {
            bytes.len()
        } else {
            self.open_from(bytes, 0)
        };
        loop {
            if let Some(inside) = &mut self.inside {
                let skipped = bytes[at..]
                    .iter()
                    .take_while(|it| inside.rule.continues(**it))
                    .count();
                if skipped > 0 && !inside.announced {
                    inside.announced = true;
                    out.extend_from_slice(MASK);
                }
                at += skipped;
                if at == bytes.len() {
                    return at;
                }
                self.inside = None;
            }
            if open < at {
                open = self.open_from(bytes, at);
            }
            let found = automaton.find(Input::new(bytes).range(at..));
            let Some(found) = found.filter(|it| it.start() < open) else {
                out.extend_from_slice(&bytes[at..open]);
                return open;
            };
            out.extend_from_slice(&bytes[at..found.start()]);
            let rule = self.rules[found.pattern().as_usize()];
            if rule == Rule::Value {
                out.extend_from_slice(MASK);
            } else {
                out.extend_from_slice(&bytes[found.range()]);
                self.inside = Some(Inside {
                    rule,
                    announced: false,
                });
            }
            at = found.end();
        }
    }

    /// Returns the first position from `from` on whose rest begins a pattern without completing it.
    fn open_from(&self, bytes: &[u8], from: usize) -> usize {
        let start = from.max(bytes.len().saturating_sub(self.longest.saturating_sub(1)));
        (start..bytes.len())
            .find(|at| {
                self.first_bytes[usize::from(bytes[*at])] && self.begins_pattern(&bytes[*at..])
            })
            .unwrap_or(bytes.len())
    }

    fn begins_pattern(&self, suffix: &[u8]) -> bool {
        // The patterns that continue `suffix` follow it directly in order; `suffix` itself comes first if it is one.
        let next = self.sorted.partition_point(|it| it.as_slice() <= suffix);
        self.sorted
            .get(next)
            .is_some_and(|it| it.starts_with(suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(values: &[&str], pieces: &[&[u8]]) -> String {
        let mut masker = Masker::new(values.iter().copied(), &["acme-".to_owned()]);
        let mut out = Vec::new();
        for piece in pieces {
            masker.push(piece, &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn check(input: &str, expected: &str) {
        assert_eq!(
            masked(&["hunter2", "hunter22", "a b"], &[input.as_bytes()]),
            expected,
            "{input:?}"
        );
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(
            masked(&["hunter2", "hunter22", "a b"], &bytes),
            expected,
            "{input:?} byte by byte"
        );
    }

    #[test]
    fn the_rules() {
        check("nothing here", "nothing here");
        check("pw=hunter2;", "pw=[MASKED];");
        check("hunter22 hunter2", "[MASKED] [MASKED]");
        check("hunterhunter2", "hunter[MASKED]");
        check("hunter", "hunter");
        check("xa by", "x[MASKED]y");
        check("glpat-abc.DEF_1 and", "glpat-[MASKED] and");
        check("glpat- and", "glpat- and");
        check("acme-zzz", "acme-[MASKED]");
        check(
            "GET /x?private_token=abc&y=1",
            "GET /x?private_token=[MASKED]&y=1",
        );
        check(
            "u?a=1&X-Amz-Signature=00ff\"",
            "u?a=1&X-Amz-Signature=[MASKED]\"",
        );
        check("private_token=abc", "private_token=abc");
        check("_gitlab_session=deadbeef;", "_gitlab_session=[MASKED];");
    }

    #[test]
    fn output_is_held_back_only_while_it_may_be_a_secret() {
        let mut masker = Masker::new(["hunter2"], &[]);
        let mut out = Vec::new();
        masker.push(b"line\nhunt", &mut out);
        assert_eq!(out, b"line\n");
        masker.push(b"ing\n", &mut out);
        assert_eq!(out, b"line\nhunting\n");
    }

    proptest! {
        #[test]
        fn the_cuts_do_not_matter(
            values in prop::collection::vec("[abc-]{1,5}", 0..5),
            text in "([abc-]{1,6}|glpat-|\\?private_token=|&| ){0,40}",
            cuts in prop::collection::vec(0_usize..200, 0..20),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let whole = masked(&values, &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|it| it % (text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|it| &text.as_bytes()[it[0]..it[1]]).collect();
            prop_assert_eq!(&masked(&values, &pieces), &whole);
        }

        #[test]
        fn no_value_survives(secret in "[x-z0-9]{4,12}", before in "[a-z0-9 ]{0,30}", after in "[a-z0-9 ]{0,30}") {
            let out = masked(&[&secret], &[before.as_bytes(), secret.as_bytes(), after.as_bytes()]);
            prop_assert!(!out.contains(&secret), "{} in {}", secret, out);
        }
    }
}
