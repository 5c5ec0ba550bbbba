//! The HTML of a log: as a whole for a page, and as patches for a page that shows the log up to some point.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped};
use rave_http::component;

use super::log::{Opened, Piece};

/// Longest text of a log on a page, in bytes of HTML.
const DOCUMENT_LIMIT: usize = 12 << 20;

/// The element that lines outside sections are in.
pub(crate) const LINES: &str = "log-lines";

/// A log, or its end, as one text.
#[derive(Debug, Default)]
pub(crate) struct LogDocument {
    /// Text in order; how long a section took is known only after its lines.
    parts: Vec<String>,
    /// The open sections, and which part waits for their duration.
    open: Vec<usize>,
    size: usize,
    /// Lines that did not fit.
    dropped: u64,
}

impl LogDocument {
    /// Starts inside these sections, outermost first.
    pub(crate) fn inside<'a>(open: impl Iterator<Item = &'a Opened>) -> Self {
        let mut document = Self {
            parts: vec![String::new()],
            ..Self::default()
        };
        for it in open {
            document.open(it);
        }
        document
    }

    /// Adds pieces at the end.
    pub(crate) fn add(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Line(_) if self.size >= DOCUMENT_LIMIT => self.dropped += 1,
                Piece::Line(html) => {
                    self.size += html.len();
                    self.last().push_str(html);
                }
                Piece::Open(opened) => self.open(opened),
                Piece::Close { section, secs } => {
                    self.last().push_str(SECTION_END);
                    if let Some(part) = self.open.pop() {
                        self.parts[part] = took(*section, *secs);
                    }
                }
            }
        }
    }

    /// Returns the text; sections that are still open end with it.
    pub(crate) fn finish(mut self) -> Markup {
        for _ in 0..self.open.len() {
            self.last().push_str(SECTION_END);
        }
        if self.dropped > 0 {
            let note = format!(
                "<div class=\"note\">{} more lines are in the raw log.</div>",
                self.dropped
            );
            self.last().push_str(&note);
        }
        PreEscaped(self.parts.concat())
    }

    fn open(&mut self, opened: &Opened) {
        self.last().push_str(&section_start(opened));
        self.open.push(self.parts.len());
        self.parts.push(took(opened.section, None));
        self.parts.push(section_body(opened.section));
    }

    fn last(&mut self) -> &mut String {
        if self.parts.is_empty() {
            self.parts.push(String::new());
        }
        self.parts.last_mut().expect("a part was just added")
    }
}

/// One change of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patch {
    /// Adds HTML at the end of an element.
    Append { id: String, html: String },
    /// Puts HTML in place of an element.
    Replace { id: String, html: String },
}

/// Turns pieces into patches. `open` are the sections that are open on the page, outermost first; it is kept up to date.
pub(crate) fn patches(open: &mut Vec<u32>, pieces: &[Piece]) -> Vec<Patch> {
    let mut patches = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Line(html) => append(&mut patches, open, html),
            Piece::Open(opened) => {
                let mut html = section_start(opened);
                html += &took(opened.section, None);
                html += &section_body(opened.section);
                html += SECTION_END;
                append(&mut patches, open, &html);
                open.push(opened.section);
            }
            Piece::Close { section, secs } => {
                patches.push(Patch::Replace {
                    id: format!("took-{section}"),
                    html: took(*section, *secs),
                });
                open.pop();
            }
        }
    }
    patches
}

/// Appends to the innermost open section, together with what was appended there just before.
fn append(patches: &mut Vec<Patch>, open: &[u32], html: &str) {
    let target = open
        .last()
        .map_or_else(|| LINES.to_owned(), |it| format!("section-{it}"));
    match patches.last_mut() {
        Some(Patch::Append { id, html: before }) if *id == target => before.push_str(html),
        _ => patches.push(Patch::Append {
            id: target,
            html: html.to_owned(),
        }),
    }
}

const SECTION_END: &str = "</div></details>";

fn section_start(opened: &Opened) -> String {
    let open = if opened.collapsed { "" } else { " open" };
    format!(
        "<details class=\"section\"{open}><summary class=\"line\">{}",
        opened.title
    )
}

fn took(section: u32, secs: Option<i64>) -> String {
    let mut html = format!("<span class=\"took\" id=\"took-{section}\">");
    if let Some(secs) = secs {
        let _ = write!(html, "{}", component::duration(secs.saturating_mul(1000)));
    }
    html + "</span>"
}

fn section_body(section: u32) -> String {
    format!("</summary><div id=\"section-{section}\">")
}
