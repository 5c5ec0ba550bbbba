//! The patterns of `artifacts:paths`, `artifacts:exclude` and `cache:paths`.

use regex::Regex;

/// A compiled pattern.
///
/// `*` and `?` stay within a part of the path, `**` spans parts, `[a-z]` and `{a,b}` choose.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    regex: Regex,
    /// The leading parts without any pattern: where looking for matches can start.
    base: String,
    /// Whether there is anything but the base.
    is_plain: bool,
}

/// A pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GlobError {
    #[error("the path {0:?} is outside of the project directory")]
    Outside(String),
    #[error("the pattern {0:?} cannot be understood")]
    Syntax(String),
}

impl Glob {
    /// Compiles a pattern. A path below `project_dir` is taken as relative to it.
    pub(crate) fn new(pattern: &str, project_dir: &str) -> Result<Self, GlobError> {
        let outside = || GlobError::Outside(pattern.to_owned());
        let relative = match pattern.strip_prefix(project_dir) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ if pattern.starts_with('/') => return Err(outside()),
            _ => pattern,
        };
        let mut parts = Vec::new();
        for part in relative.split('/') {
            match part {
                "" | "." => {}
                ".." => parts.pop().map(drop).ok_or_else(outside)?,
                part => parts.push(part),
            }
        }
        let is_pattern = |it: &&str| it.contains(['*', '?', '[', '{', '\\']);
        let base: Vec<&str> = parts
            .iter()
            .copied()
            .take_while(|it| !is_pattern(it))
            .collect();
        let (base, is_plain) = (base.join("/"), base.len() == parts.len());
        let regex = translate(&parts);
        let regex = Regex::new(&regex).map_err(|_| GlobError::Syntax(pattern.to_owned()))?;
        Ok(Self {
            regex,
            base,
            is_plain,
        })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// Returns the part of the tree in which all matches are; empty for all of it.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Says whether the base is all there is to match.
    pub(crate) const fn is_plain(&self) -> bool {
        self.is_plain
    }
}

/// Writes a regular expression that matches what the parts of a pattern do.
fn translate(parts: &[&str]) -> String {
    let mut regex = String::from("(?s)^");
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        if *part == "**" {
            regex.push_str(if last { ".*" } else { "(?:[^/]+/)*" });
            continue;
        }
        translate_part(part, &mut regex);
        if !last {
            // A final `**` also matches the directory itself.
            let before_rest = index + 2 == parts.len() && parts[index + 1] == "**";
            regex.push_str(if before_rest { "(?:/|$)" } else { "/" });
        }
    }
    regex.push('$');
    regex
}

fn translate_part(part: &str, regex: &mut String) {
    let mut chars = part.chars().peekable();
    let mut open_braces = 0_u32;
    while let Some(char) = chars.next() {
        match char {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                regex.push_str("[^/]*");
            }
            '?' => regex.push_str("[^/]"),
            '{' => {
                open_braces += 1;
                regex.push_str("(?:");
            }
            '}' if open_braces > 0 => {
                open_braces -= 1;
                regex.push(')');
            }
            ',' if open_braces > 0 => regex.push('|'),
            '[' => {
                regex.push('[');
                if chars.next_if(|it| matches!(it, '!' | '^')).is_some() {
                    regex.push('^');
                }
                for inner in chars.by_ref() {
                    match inner {
                        ']' => break,
                        '-' => regex.push('-'),
                        other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
                    }
                }
                regex.push(']');
            }
            '\\' => regex.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(pattern, "/builds/a/b").expect("a pattern");
        for path in yes {
            assert!(
                glob.matches(path),
                "{pattern} should match {path}: {:?}",
                glob.regex
            );
        }
        for path in no {
            assert!(
                !glob.matches(path),
                "{pattern} should not match {path}: {:?}",
                glob.regex
            );
        }
    }

    #[test]
    fn patterns_match() {
        check("a/b", &["a/b"], &["a", "a/bc", "a/b/c"]);
        check("./a/", &["a"], &["b"]);
        check("*.o", &["x.o", ".o"], &["d/x.o"]);
        check("**/*.o", &["x.o", "d/x.o", "d/e/x.o"], &["x.oo"]);
        check("out/**", &["out", "out/a", "out/a/b"], &["outer", "o"]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["az", "a/b"]);
        check("**", &["a", "a/b"], &[]);
        check(
            "f?.[a-c]{x,y}",
            &["fo.ax", "fi.cy"],
            &["f.ax", "fo.dx", "fo.az"],
        );
        check("[!a]b", &["cb"], &["ab"]);
        check("a+b(1).txt", &["a+b(1).txt"], &["aab1.txt"]);
        check("/builds/a/b/dist/*", &["dist/x"], &["x"]);
        check("a/../b", &["b"], &["a"]);
        check("\\*", &["*"], &["a"]);
    }

    #[test]
    fn patterns_that_leave_are_refused() {
        for pattern in ["/etc/passwd", "../x", "a/../../x", "/builds/a/bc"] {
            assert!(
                matches!(
                    Glob::new(pattern, "/builds/a/b"),
                    Err(GlobError::Outside(_))
                ),
                "{pattern}"
            );
        }
        assert!(Glob::new("{a", "/b").is_err());
    }

    #[test]
    fn looking_starts_below_the_fixed_parts() {
        let glob = Glob::new("target/doc/**/*.html", "/p").expect("a pattern");
        assert_eq!((glob.base(), glob.is_plain()), ("target/doc", false));
        assert!(Glob::new("target/doc", "/p").expect("a pattern").is_plain());
    }
}
