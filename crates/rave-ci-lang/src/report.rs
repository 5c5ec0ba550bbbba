//! Collects what there is to say about files while they are read.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::event::set_by;
use crate::expression::Patterns;
use crate::yaml::{Span, TOO_BIG};
use crate::{
    Compiled, Diagnostic, Diagnostics, Excerpt, FormInput, FormVariable, Included, Limits, Outcome,
    Place, Severity,
};

/// What is said beyond these counts helps nobody, and hostile files could make it grow.
const MAX_ERRORS: usize = 100;
const MAX_NOTICES: usize = 200;
const MAX_READINGS: usize = 10_000;

#[derive(Debug)]
struct File {
    path: String,
    /// The place of the `include` that named it; `None` for the file that is compiled.
    included_at: Option<Span>,
    /// What its messages quote.
    text: Box<str>,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What [`Span::file`] counts.
    files: Vec<File>,
    errors: Vec<Diagnostic>,
    notices: Vec<Diagnostic>,
    /// What to ask whoever runs the pipeline by hand.
    pub(crate) form: Vec<FormVariable>,
    pub(crate) inputs: Vec<FormInput>,
    /// Shared with the facts, which need them again.
    pub(crate) patterns: Rc<Patterns>,
    /// Unquoted text that means something else than it says, such as `1.10`, by place.
    readings: HashMap<Span, Box<str>>,
    pub(crate) limits: Limits,
    /// Files that were included, in order.
    pub(crate) includes: Vec<Included>,
    /// What opens each error for now: the name of the included file that is being read.
    prefix: String,
    /// Places already spoken of: `extends` brings one place into many jobs.
    seen: HashSet<(Span, String)>,
}

impl Report {
    pub(crate) fn new(patterns: Rc<Patterns>, limits: Limits) -> Self {
        Self {
            patterns,
            limits,
            ..Self::default()
        }
    }

    /// Registers a file and the place that includes it. Returns its number.
    pub(crate) fn add_file(&mut self, path: &str, included_at: Option<Span>) -> u32 {
        self.files.push(File {
            path: path.to_owned(),
            included_at,
            text: Box::default(),
        });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// Keeps the text of a file for the lines that messages quote.
    pub(crate) fn keep_text(&mut self, file: u32, text: &str) {
        if let Some(file) = self.files.get_mut(file as usize) {
            file.text = text.into();
        }
    }

    /// Remembers how the scalar at a place was written, which is not how it prints.
    pub(crate) fn note_reading(&mut self, span: Span, written: &str) {
        if self.readings.len() < MAX_READINGS {
            self.readings.insert(span, written.into());
        }
    }

    /// Returns how the scalar at a place was written, if that is not how it prints.
    pub(crate) fn reading(&self, span: Span) -> Option<String> {
        self.readings.get(&span).map(|it| it.to_string())
    }

    /// Returns the includes that lead to a place, from the one nearest to it out to the file that is compiled.
    pub(crate) fn include_chain(&self, span: Span) -> Vec<Place> {
        let parent = |span: &Span| self.files.get(span.file as usize)?.included_at;
        std::iter::successors(parent(&span), parent)
            .map(|it| Place {
                file: self.path(it).to_owned(),
                line: it.line,
                column: it.column,
            })
            .collect()
    }

    /// Returns path and text of every file, in the order of their numbers.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|it| (it.path.as_str(), &*it.text))
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place {
            file: self.path(span).to_owned(),
            line: span.line,
            column: span.column,
        }
    }

    fn path(&self, span: Span) -> &str {
        self.files
            .get(span.file as usize)
            .map_or("", |it| it.path.as_str())
    }

    /// Reports what keeps the file from being a pipeline.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.error_with_hint(span, message, None);
    }

    pub(crate) fn error_with_hint(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.errors.len() < MAX_ERRORS {
            let message = format!("{}{}", self.prefix, message.into());
            let diagnostic = self.diagnostic(Severity::Error, span, message, hint);
            self.errors.push(diagnostic);
        }
    }

    /// Sets what opens each error from now on. Returns what did so far.
    pub(crate) fn set_prefix(&mut self, prefix: String) -> String {
        std::mem::replace(&mut self.prefix, prefix)
    }

    /// Reports an error of a keyword. GitLab prints those in lower case, names of jobs included.
    pub(crate) fn entry_error(&mut self, span: Span, message: impl Into<String>) {
        self.error(span, message.into().to_lowercase());
    }

    /// Reports an error of a keyword that a limit causes.
    pub(crate) fn entry_limit(&mut self, span: Span, message: impl Into<String>, setting: &str) {
        self.error_with_hint(span, message.into().to_lowercase(), set_by(setting));
    }

    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        let message = message.into();
        if self.notices.len() < MAX_NOTICES && self.seen.insert((span, message.clone())) {
            let diagnostic = self.diagnostic(Severity::Warning, span, message, hint);
            self.notices.push(diagnostic);
        }
    }

    /// Warns of a place whose text must not be repeated.
    pub(crate) fn warn_of_secret(&mut self, span: Span, message: String, hint: Option<String>) {
        let before = self.notices.len();
        self.warn(span, message, hint);
        for notice in &mut self.notices[before..] {
            notice.excerpt = None;
        }
    }

    /// Reports a keyword that is known and has no effect yet, and what happens instead.
    pub(crate) fn unsupported(&mut self, span: Span, keyword: &str, instead: &str) {
        if self.notices.len() < MAX_NOTICES && self.seen.insert((span, keyword.to_owned())) {
            let message = format!("{keyword} is recognised but not done yet: {instead}");
            let diagnostic = self.diagnostic(Severity::Unsupported, span, message, None);
            self.notices.push(diagnostic);
        }
    }

    fn diagnostic(
        &self,
        severity: Severity,
        span: Span,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        let hint = hint.or_else(|| {
            // Later steps have no place of their own to say which limit it is.
            if message == TOO_BIG {
                return Some(self.limits.nodes_hint());
            }
            let written = self.readings.get(&span)?;
            Some(format!(
                "quote `{written}` to mean text: YAML reads something else"
            ))
        });
        Diagnostic {
            severity,
            message,
            file: self.path(span).to_owned(),
            line: span.line,
            column: span.column,
            hint,
            included_from: self.include_chain(span),
            excerpt: self
                .files
                .get(span.file as usize)
                .and_then(|it| Excerpt::of(&it.text, span.line, span.column)),
        }
    }

    pub(crate) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Returns whether more errors would not be kept.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() == MAX_ERRORS
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Returns the outcome with the notices, or the errors if there are any. A step without outcome has reported why.
    pub(crate) fn finish(mut self, outcome: Option<Outcome>) -> Result<Compiled, Diagnostics> {
        if outcome.is_none() && self.errors.is_empty() {
            self.error(Span::default(), "Failed to build the pipeline!");
        }
        match outcome {
            Some(outcome) if self.errors.is_empty() => Ok(Compiled {
                outcome,
                notices: self.notices,
                form: self.form,
            }),
            _ => Err(Diagnostics(self.errors)),
        }
    }
}

/// Returns a hint that names the known word closest to `word`, if one is close.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    if word.len() > 64 {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let plain = |it: &str| it.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .into_iter()
        .filter(|it| it.len().abs_diff(word.len()) <= 4 * allowed)
        .map(|it| (distance(&word, &plain(it)), it))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| format!("did you mean `{it}`?"))
}

/// Returns how many insertions, deletions, replacements and swaps of neighbours make `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().take(80).collect();
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_leads_outwards() {
        let mut report = Report::default();
        let at = |file, line| Span {
            file,
            line,
            column: 1,
        };
        let root = report.add_file("root.yml", None);
        let middle = report.add_file("middle.yml", Some(at(root, 3)));
        let inner = report.add_file("inner.yml", Some(at(middle, 7)));
        let chain = report.include_chain(at(inner, 9));
        let shown: Vec<(&str, u32)> = chain.iter().map(|it| (it.file.as_str(), it.line)).collect();
        assert_eq!(shown, [("middle.yml", 7), ("root.yml", 3)]);
        assert_eq!(report.include_chain(at(root, 1)), []);
    }

    #[test]
    fn the_closest_word_is_named() {
        let check = |word: &str, expected: Option<&str>| {
            let hint = did_you_mean(
                word,
                ["script", "before_script", "stage", "tags", "only", "when"],
            );
            assert_eq!(hint.as_deref(), expected, "{word}");
        };
        check("scirpt", Some("did you mean `script`?"));
        check("before-script", Some("did you mean `before_script`?"));
        check("Stages", Some("did you mean `stage`?"));
        check("whne", Some("did you mean `when`?"));
        let jobs = |word: &str| did_you_mean(word, ["build-app", "CI_COMMIT_BRANCH"]);
        assert_eq!(
            jobs("build-ap").as_deref(),
            Some("did you mean `build-app`?")
        );
        assert_eq!(
            jobs("CI_COMIT_BRANCH").as_deref(),
            Some("did you mean `CI_COMMIT_BRANCH`?")
        );
        check("banana", None);
        check("", None);
        check(&"x".repeat(1000), None);
    }
}
