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
    /// Returns the message with the line it is about and a caret below the column.
    ///
    /// `source` is the text of [`Diagnostic::file`]; a line that it does not have is left out.
    pub fn render(&self, source: &str) -> String {
        let mut out = format!("{}: {}\n", self.severity.label(), self.message);
        let gutter = " ".repeat(self.line.to_string().len());
        if self.line > 0 {
            out += &format!("{gutter}--> {}:{}:{}\n", self.file, self.line, self.column);
            if let Some(text) = source.lines().nth(self.line as usize - 1) {
                out += &frame(&gutter, self.line, self.column, text);
            }
        }
        if let Some(hint) = &self.hint {
            out += &format!("{gutter} = hint: {hint}\n");
        }
        out
    }
}

/// Returns the three lines of a code frame. The line is cut around the column, since it may be very long.
fn frame(gutter: &str, line: u32, column: u32, text: &str) -> String {
    const BEFORE: usize = 80;
    const SHOWN: usize = 120;
    let at = (column as usize).saturating_sub(1);
    let from = at.saturating_sub(BEFORE);
    let printable = |it: char| if it.is_control() { ' ' } else { it };
    let shown: String = text.chars().skip(from).take(SHOWN).map(printable).collect();
    let caret = " ".repeat(at - from);
    format!(
        "{gutter} |\n{line} | {}\n{gutter} | {caret}^\n",
        shown.trim_end()
    )
}

/// Everything that keeps a file from becoming a pipeline. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", lines(.0))]
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

fn lines(all: &[Diagnostic]) -> String {
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
            severity: Severity::Error,
            message: "jobs:a config contains unknown keys: scrip".to_owned(),
            file: ".gitlab-ci.yml".to_owned(),
            line: 2,
            column: 3,
            hint: Some("did you mean `script`?".to_owned()),
        };
        assert_snapshot!(diagnostic, @".gitlab-ci.yml:2:3: jobs:a config contains unknown keys: scrip");
        assert_snapshot!(diagnostic.render("a:\n  scrip: x\n"), @r"
        error: jobs:a config contains unknown keys: scrip
         --> .gitlab-ci.yml:2:3
          |
        2 |   scrip: x
          |   ^
          = hint: did you mean `script`?
        ");
    }

    #[test]
    fn a_frame_survives_places_that_do_not_exist() {
        let mut diagnostic = Diagnostic {
            severity: Severity::Warning,
            message: "m".to_owned(),
            file: "f".to_owned(),
            line: 9,
            column: 900,
            hint: None,
        };
        assert_eq!(diagnostic.render("a"), "warning: m\n --> f:9:900\n");
        diagnostic.line = 1;
        assert!(diagnostic.render("a").contains("1 |"));
        diagnostic.line = 0;
        assert_eq!(diagnostic.to_string(), "f: m");
    }
}
