//! The beginning of a push: its commands, what the client can do, and its options. The pack that follows is not looked at.

use bytes::{Bytes, BytesMut};

use crate::policy::Command;
use crate::transfer::body::{BodyError, RequestBody};
use crate::transfer::pkt::{self, Packet};

/// How much may come before the pack: about thirty thousand commands.
const LIMIT_BYTES: usize = 4 << 20;
const MOST_OPTIONS: usize = 256;

/// What a push says before its pack.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) commands: Vec<Command>,
    pub(crate) options: Vec<String>,
    /// Whether the client reads messages beside the report.
    pub(crate) side_band: bool,
    /// All bytes that were read, for git to read again.
    pub(crate) bytes: Bytes,
}

/// The beginning of a push makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpeningError {
    #[error("the push is malformed: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Reads up to the pack. Without commands it is the client's probe for whether it may send more.
pub(crate) async fn read(body: &mut RequestBody) -> Result<Opening, OpeningError> {
    let mut reader = Reader {
        body,
        bytes: BytesMut::new(),
        at: 0,
    };
    let mut opening = Opening::default();
    let mut with_options = false;
    while let Some(line) = reader.line().await? {
        if line.starts_with("shallow ") {
            continue;
        }
        let (command, capabilities) = line.split_once('\0').unwrap_or((&line, ""));
        if opening.commands.is_empty() {
            let has = |name| capabilities.split(' ').any(|it| it == name);
            opening.side_band = has("side-band-64k");
            with_options = has("push-options");
        }
        opening.commands.push(parse(command)?);
    }
    if with_options {
        while let Some(line) = reader.line().await? {
            if opening.options.len() == MOST_OPTIONS {
                return Err(OpeningError::Malformed("it has too many options"));
            }
            opening.options.push(line);
        }
    }
    opening.bytes = reader.bytes.freeze();
    Ok(opening)
}

fn parse(text: &str) -> Result<Command, OpeningError> {
    let mut words = text.splitn(3, ' ');
    let mut command = || {
        let (before, after, reference) = (words.next()?, words.next()?, words.next()?);
        let is_id =
            |it: &str| matches!(it.len(), 40 | 64) && it.bytes().all(|it| it.is_ascii_hexdigit());
        (is_id(before) && is_id(after)).then(|| Command {
            before: before.to_owned(),
            after: after.to_owned(),
            reference: reference.to_owned(),
        })
    };
    command().ok_or(OpeningError::Malformed("a command is not one"))
}

/// Reads lines and keeps all bytes.
struct Reader<'a> {
    body: &'a mut RequestBody,
    bytes: BytesMut,
    at: usize,
}

impl Reader<'_> {
    /// Returns the next line, `None` at the end of the section.
    async fn line(&mut self) -> Result<Option<String>, OpeningError> {
        loop {
            let (packet, length) = pkt::peek(&self.bytes[self.at..]);
            let line = match packet {
                Packet::Flush => None,
                Packet::Line(content) => {
                    let text = String::from_utf8_lossy(content);
                    Some(text.trim_end_matches('\n').to_owned())
                }
                Packet::Malformed => return Err(OpeningError::Malformed("a packet has no length")),
                Packet::Incomplete => {
                    self.more().await?;
                    continue;
                }
            };
            self.at += length;
            return Ok(line);
        }
    }

    async fn more(&mut self) -> Result<(), OpeningError> {
        if self.bytes.len() > LIMIT_BYTES {
            return Err(OpeningError::Malformed("it has too many commands"));
        }
        let piece = self.body.next().await?;
        let piece = piece.ok_or(OpeningError::Malformed("it ends too early"))?;
        self.bytes.extend_from_slice(&piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderMap;

    use super::*;

    async fn opening(text: &str) -> Result<Opening, OpeningError> {
        read(&mut RequestBody::new(
            &HeaderMap::new(),
            Body::from(text.to_owned()),
        ))
        .await
    }

    fn line(text: &str) -> String {
        String::from_utf8(pkt::line(text).to_vec()).unwrap()
    }

    #[tokio::test]
    async fn commands_and_options_are_read_and_kept() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let first = line(&format!(
            "{zero} {one} refs/heads/a\0report-status side-band-64k push-options agent=x"
        ));
        let second = line(&format!("{one} {zero} refs/heads/b c\n"));
        let text = format!("{first}{second}0000{}0000PACK…", line("ci.skip\n"));
        let found = opening(&text).await.unwrap();
        let names: Vec<_> = found
            .commands
            .iter()
            .map(|it| it.reference.as_str())
            .collect();
        assert_eq!(names, ["refs/heads/a", "refs/heads/b c"]);
        assert_eq!(
            (found.options, found.side_band),
            (vec!["ci.skip".to_owned()], true)
        );
        assert_eq!(found.bytes, text);
    }

    #[tokio::test]
    async fn what_is_no_push_is_refused() {
        assert!(
            opening("0000").await.unwrap().commands.is_empty(),
            "a probe"
        );
        for bad in ["", "00", "zzzz", &line("hello"), &line("1 2 refs/heads/x")] {
            assert!(
                matches!(opening(bad).await, Err(OpeningError::Malformed(_))),
                "{bad}"
            );
        }
    }
}
