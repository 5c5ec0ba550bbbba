//! XML as a stream of elements and texts, as lenient as the tools that write reports need it.

use std::io::BufRead;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{NAME, Unreadable, cut};

/// Deepest nesting.
const DEPTH: usize = 100;
/// Most attributes of one element that are looked at.
const ATTRIBUTES: usize = 50;

/// A piece of the stream. Names have no prefix.
#[derive(Debug)]
pub(super) enum Piece {
    Open(Element),
    Close(String),
    Text(String),
}

#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    /// Returns an attribute, without blanks around it.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|it| it.0 == name);
        found.map(|it| it.1.trim())
    }

    /// Returns an attribute as text, empty without it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// Returns an attribute that counts.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.find(name)?.parse().ok()
    }
}

pub(super) struct Xml<'a> {
    reader: Reader<&'a mut dyn BufRead>,
    buffer: Vec<u8>,
    depth: usize,
    elements: usize,
}

impl<'a> Xml<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead) -> Self {
        let mut reader = Reader::from_reader(input);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        Self {
            reader,
            buffer: Vec::new(),
            depth: 0,
            elements: 0,
        }
    }

    /// Returns the next piece, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Unreadable> {
        loop {
            self.buffer.clear();
            let event = self.reader.read_event_into(&mut self.buffer);
            let piece = match event.map_err(unreadable)? {
                Event::Start(it) => {
                    self.depth += 1;
                    self.elements += 1;
                    if self.depth > DEPTH {
                        let message = format!("its elements nest deeper than {DEPTH} levels");
                        return Err(Unreadable::Content(message));
                    }
                    Piece::Open(element(&it))
                }
                Event::End(it) => {
                    self.depth = self.depth.saturating_sub(1);
                    Piece::Close(local(it.name().as_ref()).to_owned())
                }
                Event::Text(it) => Piece::Text(it.xml10_content().into_owned()),
                Event::CData(it) => Piece::Text(it.xml10_content().into_owned()),
                Event::GeneralRef(it) => Piece::Text(entity(&it)),
                Event::Eof if self.depth > 0 => {
                    return Err(Unreadable::Content("it ends in the middle".into()));
                }
                Event::Eof if self.elements == 0 => {
                    return Err(Unreadable::Content("it has no XML element".into()));
                }
                Event::Eof => return Ok(None),
                Event::Empty(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_) => continue,
            };
            return Ok(Some(piece));
        }
    }
}

fn unreadable(error: quick_xml::Error) -> Unreadable {
    match error {
        quick_xml::Error::Io(error) => std::io::Error::new(error.kind(), error).into(),
        error => error.into(),
    }
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn element(start: &BytesStart<'_>) -> Element {
    let mut attributes = start.attributes();
    let attributes = attributes.with_checks(false).flatten();
    let attribute = |it: quick_xml::events::attributes::Attribute<'_>| {
        let value = it.normalized_value(XmlVersion::Implicit1_0);
        // An entity that nobody declared stays as it is.
        let value = value.map_or_else(|_| cut(&it.value, NAME), |it| cut(&it, NAME));
        (local(it.key.as_ref()).to_owned(), value)
    };
    Element {
        name: local(start.name().as_ref()).to_owned(),
        attributes: attributes.take(ATTRIBUTES).map(attribute).collect(),
    }
}

fn entity(reference: &quick_xml::events::BytesRef<'_>) -> String {
    if let Ok(Some(it)) = reference.resolve_char_ref() {
        return it.to_string();
    }
    match &**reference {
        "lt" => "<".into(),
        "gt" => ">".into(),
        "amp" => "&".into(),
        "quot" => "\"".into(),
        "apos" => "'".into(),
        other => format!("&{other};"),
    }
}
