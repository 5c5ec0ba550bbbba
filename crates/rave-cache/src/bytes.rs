//! Where NARs and build logs are: the one module that knows the store of objects.
//!
//! A NAR is an object under the SHA-256 of its bytes, which is what narinfo files say: all caches share one copy. It is sent
//! as the frames that are stored, which takes no compressing and no unpacking.

use std::ops::Range;

use futures_util::{StreamExt as _, stream};
use rave_blob::{Blobs, ByteStream, Digest, GetError, PutError, PutOptions, Stored};
use rave_nix::Compression;

use crate::error::CacheError;

/// How narinfo files say that NARs are packed.
pub(crate) const SERVED: Compression = Compression::Zstd;

/// Objects by digest.
#[derive(Clone)]
pub(crate) struct Objects(Blobs);

/// A form in which a NAR is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// The zstd frames that are stored.
    Frames,
}

impl Form {
    /// Returns the form that a file's name asks for, and the name without its ending.
    pub(crate) fn of_file(name: &str) -> Option<(Self, &str)> {
        if let Some(stem) = name.strip_suffix(".nar.zst") {
            return Some((Self::Frames, stem));
        }
        name.strip_suffix(".nar").map(|stem| (Self::Plain, stem))
    }
}

impl Objects {
    pub(crate) fn new(blobs: Blobs) -> Self {
        Self(blobs)
    }

    /// Stores a stream. `expected` is what its digest should be, by which one that is here already is told.
    pub(crate) async fn put(
        &self,
        stream: ByteStream<'_>,
        limit_bytes: u64,
        expected: Option<Digest>,
    ) -> Result<Stored, PutError> {
        let options = PutOptions {
            limit_bytes,
            expected,
        };
        self.0.put(stream, options).await
    }

    /// Opens an object. `None`: it is gone or damaged.
    pub(crate) async fn get(
        &self,
        digest: &Digest,
    ) -> Result<Option<ByteStream<'static>>, CacheError> {
        found(
            self.0
                .get(digest, None)
                .await
                .map(rave_blob::BlobReader::into_stream),
        )
    }

    /// Returns how long an object is in a form. `None`: it is gone or damaged.
    pub(crate) async fn length(
        &self,
        digest: &Digest,
        form: Form,
    ) -> Result<Option<u64>, CacheError> {
        let found = self.0.describe(digest).await;
        let found = found.map_err(|it| CacheError::internal("cannot look for an object", it))?;
        Ok(found.map(|it| match form {
            Form::Plain => it.size_bytes,
            Form::Frames => it.stored_bytes,
        }))
    }

    /// Opens a part of an object in a form. `None`: it is gone or damaged.
    pub(crate) async fn part(
        &self,
        digest: &Digest,
        form: Form,
        range: Range<u64>,
    ) -> Result<Option<ByteStream<'static>>, CacheError> {
        match form {
            Form::Plain => found(
                self.0
                    .get(digest, Some(range))
                    .await
                    .map(rave_blob::BlobReader::into_stream),
            ),
            Form::Frames => {
                let frames = found(self.0.frames(digest).await)?;
                Ok(frames.map(|it| match range == (0..it.length_bytes()) {
                    true => it.into_stream(),
                    false => slice(it.into_stream(), range),
                }))
            }
        }
    }

    pub(crate) async fn contains(&self, digest: &Digest) -> Result<bool, CacheError> {
        let found = self.0.contains(digest).await;
        found.map_err(|it| CacheError::internal("cannot look for an object", it))
    }
}

/// Takes what is gone or damaged for absent: a client then asks elsewhere, and may push it again.
fn found<T>(opened: Result<T, GetError>) -> Result<Option<T>, CacheError> {
    match opened {
        Ok(it) => Ok(Some(it)),
        Err(GetError::NotFound(_) | GetError::Damaged { .. }) => Ok(None),
        Err(error) => Err(CacheError::internal("cannot read an object", error)),
    }
}

/// Takes the bytes of a stream that lie in a range.
fn slice(stream: ByteStream<'static>, range: Range<u64>) -> ByteStream<'static> {
    let cut = move |(mut rest, mut at): (ByteStream<'static>, u64)| {
        let range = range.clone();
        async move {
            while at < range.end {
                let piece = match rest.next().await? {
                    Ok(piece) => piece,
                    Err(error) => return Some((Err(error), (rest, range.end))),
                };
                let (start, end) = (at, at + piece.len() as u64);
                at = end;
                let inside = range.start.clamp(start, end)..range.end.clamp(start, end);
                if !inside.is_empty() {
                    let place = |it: u64| usize::try_from(it - start).unwrap_or(usize::MAX);
                    let piece = piece.slice(place(inside.start)..place(inside.end));
                    return Some((Ok(piece), (rest, at)));
                }
            }
            None
        }
    };
    stream::unfold((stream, 0), cut).boxed()
}

/// Turns a failure to store into the answer to whoever sent the bytes.
pub(crate) fn put_failed(error: PutError) -> CacheError {
    match error {
        PutError::TooLarge { limit_bytes } => CacheError::TooLarge { limit_bytes },
        PutError::Stream(source) => CacheError::Upload(source),
        PutError::NoSpace(source) => CacheError::NoSpace(source),
        PutError::TooSlow { .. } => CacheError::Invalid(error.to_string()),
        PutError::Mismatch { actual, .. } => CacheError::Invalid(format!(
            "Bad NAR Hash or Size: what came has sha256:{actual}."
        )),
        PutError::Database(error) => CacheError::Store(error),
        PutError::Io(_) => CacheError::internal("cannot store an object", error),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_stream_is_cut_out_of_its_pieces() {
        for range in [0..9, 0..3, 2..7, 3..6, 8..9, 4..4] {
            let pieces = ["abc", "", "def", "ghi"].map(|it| Ok(Bytes::from(it)));
            let cut = slice(stream::iter(pieces).boxed(), range.clone());
            let found: Vec<Bytes> = cut.map(Result::unwrap).collect().await;
            let wanted = &b"abcdefghi"[range.start as usize..range.end as usize];
            assert_eq!(found.concat(), wanted, "{range:?}");
        }
    }

    #[test]
    fn names_of_files_say_their_form() {
        assert_eq!(Form::of_file("x.nar"), Some((Form::Plain, "x")));
        assert_eq!(Form::of_file("x.nar.zst"), Some((Form::Frames, "x")));
        assert_eq!(Form::of_file("x.nar.xz"), None);
    }
}
