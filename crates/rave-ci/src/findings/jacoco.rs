//! `JaCoCo`'s XML: instructions by line of a source file, by package.

use std::io::BufRead;

use super::cobertura::Lines;
use super::xml::{Piece, Xml};
use super::{Parsed, Unreadable, name};

pub(super) fn read(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let mut xml = Xml::new(input);
    let mut lines = Lines::default();
    let (mut package, mut file, mut known) = (String::new(), None, false);
    while let Some(piece) = xml.next()? {
        match piece {
            Piece::Open(element) => match element.name.as_str() {
                "report" => known = true,
                "package" => package = name(element.text("name")),
                "sourcefile" => {
                    let own = name(element.text("name"));
                    file = Some(match package.as_str() {
                        "" => own,
                        package => format!("{package}/{own}"),
                    });
                }
                "line" => {
                    let ran = element.number("ci").unwrap_or(0) > 0;
                    if let (Some(file), Some(number)) = (&file, element.number("nr")) {
                        lines.add(file, number, ran)?;
                    }
                }
                _ => {}
            },
            Piece::Close(tag) if tag == "sourcefile" => file = None,
            Piece::Text(_) | Piece::Close(_) => {}
        }
    }
    if !known {
        return Err(Unreadable::Content("it has no report element".into()));
    }
    lines.store(into);
    Ok(())
}
