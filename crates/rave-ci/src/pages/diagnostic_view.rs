//! How errors and notices about a pipeline's file look: message, place, the lines around it, and what to do.

use maud::{Markup, html};
use rave_ci_lang::{Diagnostic, Severity};

use super::pipeline_view::PipelineView;

impl PipelineView {
    pub(super) fn errors(&self) -> Markup {
        let errors = &self.pipeline.errors;
        html! {
            @if !errors.is_empty() {
                section.problems aria-label="Errors" {
                    div.alert.bad role="alert" {
                        "This pipeline has no jobs: its file "
                        @if errors.len() == 1 { "has an error." } @else { "has " (errors.len()) " errors." }
                    }
                    @for it in errors { (self.diagnostic(it)) }
                }
            }
        }
    }

    pub(super) fn notices(&self) -> Markup {
        let notices = &self.pipeline.notices;
        let unsupported = notices
            .iter()
            .filter(|it| it.severity == Severity::Unsupported)
            .count();
        html! {
            @if !notices.is_empty() {
                details.notices {
                    summary {
                        span.tag.warn { (notices.len()) @if notices.len() == 1 { " notice" } @else { " notices" } }
                        @if unsupported > 0 { " " (unsupported) @if unsupported == 1 { " keyword has" } @else { " keywords have" } " no effect yet" }
                        @else { " about the file" }
                    }
                    @for it in notices { (self.diagnostic(it)) }
                }
            }
        }
    }

    fn diagnostic(&self, it: &Diagnostic) -> Markup {
        let source = self
            .sources
            .iter()
            .find(|(file, _)| *file == it.file)
            .map(|(_, text)| text.as_str());
        let place = if it.line > 0 {
            format!("{}:{}:{}", it.file, it.line, it.column)
        } else {
            it.file.clone()
        };
        let address = format!(
            "{}{}",
            self.base.blob(&self.pipeline.sha, &it.file),
            if it.line > 0 {
                format!("#L{}", it.line)
            } else {
                String::new()
            }
        );
        html! {
            article.diagnostic.(format!("is-{}", it.severity.label())) {
                p { strong { (it.message) } }
                p.muted { (it.severity.label()) " in " a.mono href=(address) { (place) } }
                @if let (Some(source), true) = (source, it.line > 0) { (frame(source, it)) }
                @if let Some(hint) = &it.hint { p.hint { "Hint: " (hint) } }
            }
        }
    }
}

/// The lines around a place, with the place marked.
fn frame(source: &str, at: &Diagnostic) -> Markup {
    const AROUND: usize = 2;
    const SHOWN: usize = 160;
    let line = at.line as usize;
    let first = line.saturating_sub(AROUND).max(1);
    let lines: Vec<(usize, &str)> = source
        .lines()
        .enumerate()
        .map(|(index, text)| (index + 1, text))
        .skip(first - 1)
        .take(line + AROUND + 1 - first)
        .collect();
    let cut = |it: &str| it.chars().take(SHOWN).collect::<String>();
    let column = (at.column as usize).saturating_sub(1).min(SHOWN);
    html! {
        pre.frame {
            @for (number, text) in lines {
                @if number == line {
                    @let text = cut(text);
                    @let split = text.char_indices().nth(column).map_or(text.len(), |(index, _)| index);
                    @let end = text[split..].find([' ', ':', ',', ']', '}']).map_or(text.len(), |it| split + it.max(1));
                    span.here { span.no { (number) } (text[..split]) mark { (text[split..end]) } (text[end..]) "\n" }
                } @else {
                    span { span.no { (number) } (cut(text)) "\n" }
                }
            }
        }
    }
}
