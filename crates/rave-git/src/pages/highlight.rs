//! Source text with colours: a handful of classes, each line complete in itself, within a time limit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use maud::{Markup, PreEscaped, html};
use syntect::easy::ScopeRegionIterator;
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

/// How long colouring may take; the rest of the file stays plain.
const LIMIT: Duration = Duration::from_millis(1500);
/// Lines that no person wrote are not coloured.
const LONGEST_LINE: usize = 2000;
/// How long the syntaxes stay in memory after their last use: they take about 20 MB.
const KEEP: Duration = Duration::from_secs(300);

/// The syntaxes, while anyone reads files.
static SYNTAXES: Mutex<Option<(Arc<SyntaxSet>, Instant)>> = Mutex::new(None);

fn syntaxes() -> Arc<SyntaxSet> {
    let mut held = SYNTAXES.lock().unwrap_or_else(PoisonError::into_inner);
    let set = match held.take() {
        Some((set, _)) => set,
        None => Arc::new(SyntaxSet::load_defaults_newlines()),
    };
    *held = Some((set.clone(), Instant::now()));
    set
}

/// Gives the memory of syntaxes back that nobody has used for a while.
pub(crate) fn forget_syntaxes() {
    let mut held = SYNTAXES.lock().unwrap_or_else(PoisonError::into_inner);
    if held.as_ref().is_some_and(|it| it.1.elapsed() > KEEP) {
        *held = None;
    }
}

/// Renders a file with numbered lines. Blocks the thread.
pub(super) fn source(name: &str, text: &str) -> Markup {
    let set = syntaxes();
    let syntax = find_syntax(&set, name, text);
    let mut painter = syntax.map(|it| Painter::new(&set, it));
    let start = Instant::now();
    let mut html = String::with_capacity(text.len() * 2);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = index + 1;
        html.push_str(&format!("<span class=\"l\" id=\"L{number}\"><a href=\"#L{number}\" data-n=\"{number}\" aria-label=\"Line {number}\"></a>"));
        let slow = line.len() > LONGEST_LINE || start.elapsed() > LIMIT;
        if slow {
            painter = None;
        }
        match &mut painter {
            Some(painter) => painter.paint(line, &mut html),
            None => escape(line, &mut html),
        }
        if !line.ends_with('\n') {
            html.push('\n');
        }
        html.push_str("</span>");
    }
    html! { pre.source tabindex="0" { (PreEscaped(html)) } }
}

fn find_syntax<'a>(set: &'a SyntaxSet, name: &str, text: &str) -> Option<&'a SyntaxReference> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let extension = file
        .rsplit_once('.')
        .map_or(file, |it| it.1)
        .to_ascii_lowercase();
    // Close relatives of what the set knows.
    let extension = match extension.as_str() {
        "ts" | "tsx" | "jsx" | "mjs" | "cjs" => "js",
        "kt" | "kts" | "swift" => "java",
        "toml" | "cfg" | "conf" | "ini" => "properties",
        "zsh" | "ksh" => "sh",
        "json5" | "jsonc" => "json",
        other => other,
    };
    let by_name = set.find_syntax_by_extension(file);
    let first = text.lines().next().unwrap_or_default();
    by_name
        .or_else(|| set.find_syntax_by_extension(extension))
        .or_else(|| set.find_syntax_by_first_line(first))
        .filter(|it| it.name != "Plain Text")
}

/// Colours one line after the other.
struct Painter<'a> {
    set: &'a SyntaxSet,
    state: ParseState,
    stack: ScopeStack,
    classes: Vec<(Scope, &'static str)>,
}

impl<'a> Painter<'a> {
    fn new(set: &'a SyntaxSet, syntax: &SyntaxReference) -> Self {
        const CLASSES: [(&str, &str); 16] = [
            ("comment", "c"),
            ("string", "s"),
            ("constant.numeric", "n"),
            ("constant.character.escape", "n"),
            ("constant", "n"),
            ("storage", "k"),
            ("keyword.operator", ""),
            ("keyword", "k"),
            ("entity.name.function", "f"),
            ("support.function", "f"),
            ("variable.function", "f"),
            ("entity.name.tag", "k"),
            ("entity.name", "t"),
            ("support.type", "t"),
            ("entity.other.attribute-name", "f"),
            ("markup.heading", "k"),
        ];
        let scope = |(name, class)| Some((Scope::new(name).ok()?, class));
        Self {
            set,
            state: ParseState::new(syntax),
            stack: ScopeStack::new(),
            classes: CLASSES.into_iter().filter_map(scope).collect(),
        }
    }

    fn paint(&mut self, line: &str, html: &mut String) {
        let Ok(operations) = self.state.parse_line(line, self.set) else {
            return escape(line, html);
        };
        for (text, operation) in ScopeRegionIterator::new(&operations, line) {
            if self.stack.apply(operation).is_err() {
                self.stack = ScopeStack::new();
            }
            match self.class() {
                _ if text.is_empty() => {}
                "" => escape(text, html),
                class => {
                    html.push_str(&format!("<i class=\"{class}\">"));
                    escape(text, html);
                    html.push_str("</i>");
                }
            }
        }
    }

    /// Returns the class of the innermost scope that has one.
    fn class(&self) -> &'static str {
        let of = |scope: &Scope| {
            self.classes
                .iter()
                .find(|(it, _)| it.is_prefix_of(*scope))
                .map(|it| it.1)
        };
        self.stack
            .as_slice()
            .iter()
            .rev()
            .find_map(of)
            .unwrap_or_default()
    }
}

fn escape(text: &str, html: &mut String) {
    for it in text.chars() {
        match it {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            it => html.push(it),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_coloured_and_complete_in_themselves() {
        let html = source("src/main.rs", "/* a\n<b> */ fn main() {}").into_string();
        assert!(
            html.contains("id=\"L2\"") && !html.contains("<b>"),
            "{html}"
        );
        let lines: Vec<&str> = html.split("<span class=\"l\"").skip(1).collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert_eq!(
                line.matches("<i ").count(),
                line.matches("</i>").count(),
                "{line}"
            );
        }
        assert!(html.contains("<i class=\"f\">main</i>"), "{html}");
        let plain = source("x.unknown", "<script>&").into_string();
        assert!(plain.contains("&lt;script&gt;&amp;"), "{plain}");
    }
}
