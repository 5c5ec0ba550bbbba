//! Reads `multipart/form-data` as it arrives: whatever the size of a part, only a piece of it is in memory.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

/// Largest head of a part.
const HEAD: usize = 16 * 1024;

/// A body that is read part by part.
pub struct Multipart<S> {
    stream: S,
    buffer: BytesMut,
    /// What stands before each part and at the end: a line break, `--` and the boundary.
    delimiter: Vec<u8>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first delimiter or inside a part.
    Body,
    /// Right behind a delimiter.
    Delimiter,
    End,
}

/// The head of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub filename: Option<String>,
}

impl<S, E> Multipart<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Starts to read a body. `None` when its content type names no boundary.
    pub fn new(content_type: &str, stream: S) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary").filter(|it| !it.is_empty())?;
        Some(Self {
            stream,
            // The first delimiter may lack the line break that the others have.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            place: Place::Body,
        })
    }

    /// Returns the head of the next part, passing over what was not read of the one before. `None` after the last.
    ///
    /// # Errors
    /// When the stream fails, or the body ends early or is none.
    pub async fn next_part(&mut self) -> io::Result<Option<Part>> {
        while self.place == Place::Body && self.chunk().await?.is_some() {}
        if self.place == Place::End {
            return Ok(None);
        }
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            self.place = Place::End;
            return Ok(None);
        }
        let end = loop {
            match find(&self.buffer, b"\r\n\r\n") {
                Some(end) => break end,
                None if self.buffer.len() > HEAD => {
                    return Err(invalid("the head of a part is too long"));
                }
                None => self.fill().await?,
            }
        };
        let head = self.buffer.split_to(end + 4);
        self.place = Place::Body;
        Ok(Some(read_head(&String::from_utf8_lossy(&head))))
    }

    /// Returns the next bytes of the part. `None` at its end.
    ///
    /// # Errors
    /// When the stream fails or ends early.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.place != Place::Body {
            return Ok(None);
        }
        loop {
            match find(&self.buffer, &self.delimiter) {
                Some(0) => {
                    self.buffer.advance(self.delimiter.len());
                    self.place = Place::Delimiter;
                    return Ok(None);
                }
                Some(at) => return Ok(Some(self.buffer.split_to(at).freeze())),
                None => {
                    // The beginning of a delimiter may be at the end.
                    let sure = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
                    if sure > 0 {
                        return Ok(Some(self.buffer.split_to(sure).freeze()));
                    }
                    self.fill().await?;
                }
            }
        }
    }

    /// Returns the rest of the part as text of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is longer, or the stream fails or ends early.
    pub async fn text(&mut self, limit: usize) -> io::Result<String> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if text.len() + chunk.len() > limit {
                return Err(invalid("a field is too long"));
            }
            text.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the body ends inside a part",
            )),
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Returns where `wanted`, which begins with a carriage return, begins in `bytes`.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|it| *it == b'\r')?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn read_head(head: &str) -> Part {
    let mut part = Part::default();
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            let parameters = value.split_once(';').map_or("", |it| it.1);
            part.name = parameter(parameters, "name").unwrap_or_default();
            part.filename = parameter(parameters, "filename");
        }
    }
    part
}

/// Returns a parameter of a header's value, such as `a="b"` or `a=b`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// Reads up to the closing quote. Returns the text and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, it) in text.char_indices() {
        match it {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &text[at + 1..]),
            it => {
                value.push(it);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=\"xYz\"";

    /// Reads a body that arrives in pieces of `size` bytes.
    async fn read(body: &[u8], size: usize) -> io::Result<Vec<(Part, Vec<u8>)>> {
        let pieces = body
            .chunks(size)
            .map(|it| Ok::<_, io::Error>(Bytes::copy_from_slice(it)));
        let pieces: Vec<_> = pieces.collect();
        let mut multipart =
            Multipart::new(KIND, futures_util::stream::iter(pieces)).expect("a boundary");
        let mut parts = Vec::new();
        while let Some(part) = multipart.next_part().await? {
            let mut content = Vec::new();
            while let Some(chunk) = multipart.chunk().await? {
                content.extend_from_slice(&chunk);
            }
            parts.push((part, content));
        }
        Ok(parts)
    }

    #[tokio::test]
    async fn parts_are_the_same_however_the_body_arrives() {
        let file = b"a\r\n--xY\r\n\r--xYz\r\n";
        let mut body =
            b"--xYz\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nsecret".to_vec();
        body.extend(b"\r\n--xYz\r\ncontent-type: application/zip\r\n");
        body.extend(
            b"content-disposition: form-data; name=file; filename=\"a \\\"b\\\".zip\"\r\n\r\n",
        );
        body.extend(file);
        body.extend(b"\r\n--xYz--\r\n");
        for size in 1..body.len() {
            let parts = read(&body, size).await.expect("valid");
            assert_eq!(parts.len(), 2, "in pieces of {size}");
            assert_eq!(
                (parts[0].0.name.as_str(), &parts[0].1[..]),
                ("token", &b"secret"[..])
            );
            assert_eq!(parts[1].0.filename.as_deref(), Some("a \"b\".zip"));
            assert_eq!(parts[1].1, file);
        }
    }

    #[tokio::test]
    async fn an_empty_part_and_a_preamble_are_read() {
        let body = b"hello\r\n--xYz\r\n\r\n\r\n--xYz--";
        let parts = read(body, 5).await.expect("valid");
        assert_eq!(parts, [(Part::default(), Vec::new())]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        for body in ["", "--xYz", "--xYz\r\n\r\nabc", "--xYz\r\n\r\nabc\r\n--xY"] {
            let error = read(body.as_bytes(), 3).await.expect_err("incomplete");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{body:?}");
        }
        let head = format!("--xYz\r\nx: {}\r\n\r\n", "y".repeat(HEAD * 2));
        assert_eq!(
            read(head.as_bytes(), 999)
                .await
                .expect_err("too long")
                .kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn only_form_data_with_a_boundary_is_read() {
        let stream = futures_util::stream::empty::<io::Result<Bytes>>;
        assert!(Multipart::new("multipart/form-data; charset=x; boundary=abc", stream()).is_some());
        assert!(Multipart::new("multipart/form-data", stream()).is_none());
        assert!(Multipart::new("multipart/mixed; boundary=abc", stream()).is_none());
    }
}
