//! An object, or a part of one, on its way out.

use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream as _, stream::BoxStream};
use tokio::io::{AsyncRead, ReadBuf};

/// An object's bytes on their way in or out.
pub type ByteStream<'a> = BoxStream<'a, io::Result<Bytes>>;

/// Reads an object, or a part of one.
pub struct BlobReader {
    stream: ByteStream<'static>,
    piece: Bytes,
    range: Range<u64>,
    size_bytes: u64,
}

impl BlobReader {
    pub(crate) fn new(stream: ByteStream<'static>, range: Range<u64>, size_bytes: u64) -> Self {
        Self {
            stream,
            piece: Bytes::new(),
            range,
            size_bytes,
        }
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

    /// Turns the reader into a stream of pieces. Nothing may have been read yet.
    #[must_use]
    pub fn into_stream(self) -> ByteStream<'static> {
        self.stream
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(context)) {
                Some(piece) => self.piece = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.piece.len().min(out.remaining());
        out.put_slice(&self.piece[..length]);
        self.piece.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("range", &self.range)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// Reads an object as it is stored.
pub struct FrameReader {
    stream: ByteStream<'static>,
    length_bytes: u64,
    size_bytes: u64,
}

impl FrameReader {
    pub(crate) fn new(stream: ByteStream<'static>, length_bytes: u64, size_bytes: u64) -> Self {
        Self {
            stream,
            length_bytes,
            size_bytes,
        }
    }

    /// Returns how many bytes come: the `Content-Length`.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Returns the size of the object that they unpack to.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Turns the reader into a stream of frames.
    #[must_use]
    pub fn into_stream(self) -> ByteStream<'static> {
        self.stream
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("length_bytes", &self.length_bytes)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}
