//! Shows the events of a text, for tests and fuzzing.

use std::borrow::Cow;

use super::compose::message;
use super::parser::{Event, Parser};
use super::token::SyntaxError;

/// The events of a text, and the message of the error that ended them.
pub struct Described {
    /// Where the event's text begins, counted from 0, and the event.
    pub events: Vec<((u32, u32), String)>,
    pub error: Option<String>,
}

/// Reads a whole text.
pub fn describe(text: &str) -> Described {
    let mut events = Vec::new();
    let error = collect(&mut events, text).err();
    Described {
        events,
        error: error.map(|it| message(&it)),
    }
}

fn collect(events: &mut Vec<((u32, u32), String)>, text: &str) -> Result<(), SyntaxError> {
    let mut parser = Parser::new(text)?;
    loop {
        let (event, mark) = parser.next()?;
        if event == Event::StreamEnd {
            return Ok(());
        }
        events.push(((mark.line, mark.column), shown(event)));
    }
}

/// Shows an event much as it is written. Tags stand in angle brackets, whole; text that is no plain scalar in quotes.
fn shown(event: Event<'_>) -> String {
    let properties = |anchor: Option<&str>, tag: Option<Cow<'_, str>>| {
        let anchor = anchor.map(|it| format!("&{it} ")).unwrap_or_default();
        let tag = tag.map(|it| format!("<{it}> ")).unwrap_or_default();
        anchor + &tag
    };
    match event {
        Event::StreamEnd => String::new(),
        Event::DocumentStart => "---".to_owned(),
        Event::DocumentEnd => "...".to_owned(),
        Event::Alias(name) => format!("*{name}"),
        Event::Scalar {
            anchor,
            tag,
            value,
            plain,
        } => match plain {
            true => properties(anchor, tag) + "=" + &value.replace('\n', "\\n"),
            false => properties(anchor, tag) + "'" + &value.replace('\n', "\\n") + "'",
        },
        Event::SequenceStart { anchor, tag } => properties(anchor, tag) + "[",
        Event::SequenceEnd => "]".to_owned(),
        Event::MappingStart { anchor, tag } => properties(anchor, tag) + "{",
        Event::MappingEnd => "}".to_owned(),
    }
}
