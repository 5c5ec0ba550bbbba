//! What the language says to the author of a file: errors, warnings and keywords that are not carried out yet.
//!
//! Messages are GitLab's own, because people search for them; what we can add goes into the hint.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a [`Diagnostic`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// There is no pipeline.
    Error,
    /// There is a pipeline, perhaps not the intended one.
    Warning,
    /// A keyword is recognised, but has no effect yet.
    Unsupported,
}

impl Severity {
    /// Returns the word that opens a rendered diagnostic.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A place in a file; line and column are 1-based.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// One message about one place of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// GitLab's text where it has one.
    pub message: String,
    /// Path of the file, as it was given or included.
    pub file: String,
    /// 1-based; 0 when the message is about no line in particular.
    pub line: u32,
    /// 1-based, in characters; 0 when the message is about no line in particular.
    pub column: u32,
    /// What the author could do, for example a name that was probably meant.
    pub hint: Option<String>,
    /// The includes that lead to the file, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_from: Vec<Place>,
    /// The line that the message is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

impl Diagnostic {
    /// Makes a message about a file as a whole.
    pub fn about(severity: Severity, file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            file: file.into(),
            line: 0,
            column: 0,
            hint: None,
            included_from: Vec::new(),
            excerpt: None,
        }
    }

    /// Returns the message with the line it is about, a caret below the column, the way to the file and the hint.
    pub fn render(&self) -> String {
        let mut out = format!("{}: {}\n", self.severity.label(), self.message);
        let gutter = " ".repeat(self.line.to_string().len());
        if self.line > 0 {
            out += &format!("{gutter}--> {}:{}:{}\n", self.file, self.line, self.column);
        }
        if let Some(Excerpt { text, caret }) = &self.excerpt {
            let caret = " ".repeat(*caret as usize);
            out += &format!("{gutter} |\n{} | {text}\n{gutter} | {caret}^\n", self.line);
        }
        for Place { file, line, column } in &self.included_from {
            out += &format!("{gutter} = included from {file}:{line}:{column}\n");
        }
        if let Some(hint) = &self.hint {
            out += &format!("{gutter} = hint: {hint}\n");
        }
        out
    }
}

/// A line of a file, cut around the place of interest, since it may be very long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    pub text: String,
    /// How many characters are left of the place.
    pub caret: u32,
}

impl Excerpt {
    /// Cuts the line `line` out of `source`, both counted from 1. `None`: there is no such line.
    pub fn of(source: &str, line: u32, column: u32) -> Option<Self> {
        const BEFORE: usize = 80;
        const SHOWN: usize = 120;
        let text = lines(source).nth((line as usize).checked_sub(1)?)?;
        let at = (column as usize).saturating_sub(1);
        let from = at.saturating_sub(BEFORE);
        let printable = |it: char| if it.is_control() { ' ' } else { it };
        let shown: String = text.chars().skip(from).take(SHOWN).map(printable).collect();
        Some(Self {
            text: shown.trim_end().to_owned(),
            caret: u32::try_from(at - from).unwrap_or_default(),
        })
    }
}

/// Splits at the breaks that YAML knows.
fn lines(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(source);
    std::iter::from_fn(move || {
        let text = rest?;
        let at = text.find(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        let line = at.map_or(text, |at| &text[..at]);
        rest = at.map(|at| {
            let after = &text[at..];
            let width = if after.starts_with("\r\n") {
                2
            } else {
                after.chars().next().map_or(1, char::len_utf8)
            };
            &after[width..]
        });
        Some(line)
    })
}

/// Everything that keeps a file from becoming a pipeline. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Returns the first error: the one GitLab reports when it creates a pipeline.
    pub fn first(&self) -> Option<&Diagnostic> {
        self.0.first()
    }

    /// Iterates over the diagnostics in order of importance.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn listed(all: &[Diagnostic]) -> String {
    let all: Vec<String> = all.iter().map(Diagnostic::to_string).collect();
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn a_frame_points_at_the_column() {
        let diagnostic = Diagnostic {
            line: 2,
            column: 3,
            hint: Some("did you mean `script`?".to_owned()),
            included_from: vec![Place {
                file: ".gitlab-ci.yml".to_owned(),
                line: 7,
                column: 5,
            }],
            excerpt: Excerpt::of("a:\n  scrip: x\n", 2, 3),
            ..Diagnostic::about(
                Severity::Error,
                "ci/build.yml",
                "jobs:a config contains unknown keys: scrip",
            )
        };
        assert_snapshot!(diagnostic, @"ci/build.yml:2:3: jobs:a config contains unknown keys: scrip");
        assert_snapshot!(diagnostic.render(), @r"
        error: jobs:a config contains unknown keys: scrip
         --> ci/build.yml:2:3
          |
        2 |   scrip: x
          |   ^
          = included from .gitlab-ci.yml:7:5
          = hint: did you mean `script`?
        ");
    }

    #[test]
    fn an_excerpt_is_cut_around_the_column() {
        let check = |source: &str, line, column, expected: Option<(&str, u32)>| {
            let found = Excerpt::of(source, line, column);
            let found = found.as_ref().map(|it| (it.text.as_str(), it.caret));
            assert_eq!(found, expected, "{source:?}:{line}:{column}");
        };
        check("a\nb c", 2, 3, Some(("b c", 2)));
        check("a\r\nb\rc\u{2028}d", 4, 1, Some(("d", 0)));
        check("a\tb", 1, 1, Some(("a b", 0)));
        check("a", 9, 900, None);
        check("a", 0, 0, None);
        check("a", 1, 900, Some(("", 80)));
        check(&"xy".repeat(500), 1, 500, Some((&"yx".repeat(60), 80)));
    }

    #[test]
    fn a_message_about_a_whole_file_has_no_place() {
        let diagnostic = Diagnostic::about(Severity::Warning, "f", "m");
        assert_eq!(diagnostic.to_string(), "f: m");
        assert_eq!(diagnostic.render(), "warning: m\n");
    }
}
