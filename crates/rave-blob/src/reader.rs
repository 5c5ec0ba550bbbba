//! An object, or a part of one, on its way out.

use std::{
    io::{self, SeekFrom},
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::StreamExt;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt, AsyncSeekExt, ReadBuf, Take},
};
use tokio_util::io::ReaderStream;

use crate::ByteStream;

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// Reads an object, or a part of one.
#[derive(Debug)]
pub struct BlobReader {
    file: Take<File>,
    range: Range<u64>,
    size_bytes: u64,
}

impl BlobReader {
    /// Begins to read `range` of a file of `size_bytes`, which the caller has found to contain it.
    pub(crate) async fn new(
        mut file: File,
        range: Range<u64>,
        size_bytes: u64,
    ) -> io::Result<Self> {
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).await?;
        }
        let length = range.end.saturating_sub(range.start);
        Ok(Self {
            file: file.take(length),
            range,
            size_bytes,
        })
    }

    /// Returns the size of the whole object.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the part of the object that is read.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Returns how many bytes are read in all: the `Content-Length`.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Turns the reader into a stream of pieces.
    #[must_use]
    pub fn into_stream(self) -> ByteStream<'static> {
        ReaderStream::with_capacity(self, PIECE).boxed()
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.file).poll_read(context, out);
        let ended = matches!(polled, Poll::Ready(Ok(())))
            && out.filled().len() == before
            && out.remaining() > 0;
        if ended && self.file.limit() > 0 {
            // A file that lost its end must not pass for a short object.
            let damaged = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the object is shorter than it was",
            );
            return Poll::Ready(Err(damaged));
        }
        polled
    }
}
