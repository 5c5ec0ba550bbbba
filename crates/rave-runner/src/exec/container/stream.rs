//! What comes out of a container that one is attached to: frames of standard output and standard error.
//!
//! Each frame is the number of its stream, three zero bytes, its length in four bytes, most significant first, and as
//! many bytes.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

const HEADER: usize = 8;

/// An attached container.
pub(super) struct Attached {
    input: WriteHalf<reqwest::Upgraded>,
    output: Frames<ReadHalf<reqwest::Upgraded>>,
}

impl Attached {
    pub(super) fn new(upgraded: reqwest::Upgraded) -> Self {
        let (output, input) = tokio::io::split(upgraded);
        Self {
            input,
            output: Frames::new(output),
        }
    }

    /// Splits it into the input and the output, for using both at once.
    pub(super) fn split(self) -> (Feed, Frames<ReadHalf<reqwest::Upgraded>>) {
        (Feed(self.input), self.output)
    }
}

/// The standard input of an attached container.
pub(super) struct Feed(WriteHalf<reqwest::Upgraded>);

impl Feed {
    /// Writes all of the container's standard input and closes it.
    pub(super) async fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.write_all(text).await?;
        self.0.shutdown().await
    }
}

/// Takes the frames off what a container prints.
pub(super) struct Frames<R> {
    from: R,
    header: [u8; HEADER],
    /// How much of the header is there.
    known: usize,
    /// How much of the frame is still to come.
    left: usize,
}

impl<R: tokio::io::AsyncRead + Unpin> Frames<R> {
    pub(super) const fn new(from: R) -> Self {
        Self {
            from,
            header: [0; HEADER],
            known: 0,
            left: 0,
        }
    }

    /// Reads some of what was printed; zero bytes mean the end. May be dropped while it waits: nothing is lost by that.
    pub(super) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.left > 0 {
                let most = self.left.min(into.len());
                let len = self.from.read(&mut into[..most]).await?;
                self.left -= len;
                return Ok(len);
            }
            let len = self.from.read(&mut self.header[self.known..]).await?;
            if len == 0 {
                return Ok(0);
            }
            self.known += len;
            if self.known == HEADER {
                self.known = 0;
                self.left = length(&self.header);
            }
        }
    }
}

fn length(header: &[u8; HEADER]) -> usize {
    let [.., a, b, c, d] = *header;
    u32::from_be_bytes([a, b, c, d]) as usize
}

/// Takes the frames off a log that was read whole.
pub(super) fn unwrap_frames(mut log: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some((header, rest)) = log.split_first_chunk::<HEADER>() {
        let (frame, rest) = rest.split_at(length(header).min(rest.len()));
        text.extend_from_slice(frame);
        log = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let len = u32::try_from(text.len()).expect("short").to_be_bytes();
        [&[stream, 0, 0, 0][..], &len, text].concat()
    }

    #[tokio::test]
    async fn frames_come_off_wherever_the_pieces_end() {
        let wire = [frame(1, b"out"), frame(2, b""), frame(2, b"error")].concat();
        assert_eq!(unwrap_frames(&wire), b"outerror");
        for size in 1..wire.len() {
            let pieces = wire
                .chunks(size)
                .map(|it| Ok::<_, io::Error>(bytes::Bytes::copy_from_slice(it)));
            let mut frames = Frames::new(tokio_util::io::StreamReader::new(
                futures_util::stream::iter(pieces),
            ));
            let (mut text, mut buffer) = (Vec::new(), [0; 4]);
            loop {
                match frames.read(&mut buffer).await.expect("no error") {
                    0 => break,
                    len => text.extend_from_slice(&buffer[..len]),
                }
            }
            assert_eq!(text, b"outerror", "pieces of {size}");
        }
    }

    #[test]
    fn a_log_that_breaks_off_is_read_to_there() {
        let wire = frame(1, b"whole");
        assert_eq!(unwrap_frames(&wire[..10]), b"wh");
        assert_eq!(unwrap_frames(&wire[..5]), b"");
    }
}
