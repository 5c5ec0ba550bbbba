//! Cobertura's XML: lines with hits, by class and file.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::xml::{Piece, Xml};
use super::{FileCoverage, Parsed, Unreadable, name};

/// Most lines of one report that are held at a time.
const LINES: usize = 2_000_000;
/// Longest list of missed lines of a file, in bytes.
const MISSED: usize = 2000;

/// Which lines of each file ran.
#[derive(Default)]
pub(super) struct Lines {
    files: BTreeMap<String, BTreeMap<i64, bool>>,
    count: usize,
}

impl Lines {
    /// Notes a line. One that a file has twice ran if it ran in either.
    pub(super) fn add(&mut self, path: &str, line: i64, ran: bool) -> Result<(), Unreadable> {
        self.count += 1;
        if self.count > LINES {
            let message = format!("it has more than {LINES} lines");
            return Err(Unreadable::Content(message));
        }
        let file = match self.files.get_mut(path) {
            Some(file) => file,
            None => self.files.entry(path.to_owned()).or_default(),
        };
        *file.entry(line).or_default() |= ran;
        Ok(())
    }

    pub(super) fn store(self, into: &mut Parsed) {
        into.summary.lines.get_or_insert_default();
        for (path, lines) in self.files {
            let covered = lines.values().filter(|it| **it).count();
            into.push_file(FileCoverage {
                lines: count(lines.len()),
                covered: count(covered),
                missed: missed(&lines),
                path,
            });
        }
    }
}

fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// Writes the lines that did not run as ranges. Lines between them that cannot run do not end a range.
fn missed(lines: &BTreeMap<i64, bool>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    let mut open = false;
    for (line, ran) in lines {
        match ranges.last_mut() {
            _ if *ran => open = false,
            Some((_, last)) if open => *last = *line,
            _ => {
                ranges.push((*line, *line));
                open = true;
            }
        }
    }
    let mut text = String::new();
    for (first, last) in ranges {
        if text.len() > MISSED {
            text.push('…');
            break;
        }
        let separator = if text.is_empty() { "" } else { "," };
        if first == last {
            text.push_str(&format!("{separator}{first}"));
        } else {
            text.push_str(&format!("{separator}{first}-{last}"));
        }
    }
    text
}

pub(super) fn read(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let mut xml = Xml::new(input);
    let mut lines = Lines::default();
    let (mut file, mut in_source, mut in_methods, mut known) = (None, false, false, false);
    while let Some(piece) = xml.next()? {
        match piece {
            Piece::Open(element) => match element.name.as_str() {
                "coverage" => known = true,
                "source" => in_source = true,
                "class" => file = Some(name(element.text("filename"))).filter(|it| !it.is_empty()),
                // The lines of methods come again as lines of their class.
                "methods" => in_methods = true,
                "line" if !in_methods => {
                    let hits = element.find("hits").and_then(|it| it.parse::<f64>().ok());
                    if let (Some(file), Some(number)) = (&file, element.number("number")) {
                        lines.add(file, number, hits.unwrap_or(0.0) > 0.0)?;
                    }
                }
                _ => {}
            },
            Piece::Text(text) if in_source && into.sources.len() < 20 => {
                into.sources.push(name(&text));
            }
            Piece::Text(_) => {}
            Piece::Close(tag) => match tag.as_str() {
                "source" => in_source = false,
                "class" => file = None,
                "methods" => in_methods = false,
                _ => {}
            },
        }
    }
    if !known {
        return Err(Unreadable::Content("it has no coverage element".into()));
    }
    lines.store(into);
    Ok(())
}
