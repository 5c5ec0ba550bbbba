//! An object on its way out: its chunks are found, neighbours are read at once, and each is checked before it goes.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::error::GetError;
use crate::frame::{self, Damage, LABEL_BYTES};
use crate::manifest::{self, Part};
use crate::reader::{BlobReader, FrameReader};
use crate::table::{self, chunk::Located};
use crate::{Blobs, Digest};

/// How much of a pack is read at once. What lies between wanted chunks counts.
const RUN_BYTES: u64 = 2 << 20;
/// How far apart two chunks of one read may lie.
const GAP_BYTES: u64 = 64 << 10;
/// How many reads are under way ahead of the reader.
const RUNS: usize = 2;
/// How many chunks are looked for at once. Few at first: the first byte waits for them.
const FIRST_WINDOW: usize = 4;
const WINDOW: usize = 64;

/// What a reader wants of a chunk.
#[derive(Clone, Copy, Debug)]
enum Form {
    Content,
    Frame,
}

/// A chunk that is wanted, and which part of its content.
#[derive(Clone, Debug)]
struct Wanted {
    chunk: Located,
    from: u32,
    to: u32,
}

/// An object that is opened.
pub(crate) struct Opened {
    pub(crate) parts: Vec<Part>,
    pub(crate) size_bytes: u64,
    pub(crate) stored_bytes: u64,
}

impl Blobs {
    /// Opens an object, or the part of it between two offsets. Every chunk is compared with its digest before it is served:
    /// a damaged one ends the stream with an error.
    pub async fn get(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<BlobReader, GetError> {
        let digest = *digest;
        let opened = self.open(&digest).await?;
        let size_bytes = opened.size_bytes;
        let range = range.unwrap_or(0..size_bytes);
        if range.start > range.end || range.end > size_bytes {
            return Err(GetError::Range {
                digest,
                start: range.start,
                end: range.end,
                size_bytes,
            });
        }
        let wanted = slice(&opened.parts, &range);
        let stream = self.clone().chunks(digest, wanted, Form::Content);
        Ok(BlobReader::new(stream.boxed(), range, size_bytes))
    }

    /// Opens an object as it is stored: zstd frames, one after the other, which unpack to the object. Every frame is compared
    /// with its checksum before it is served.
    pub async fn frames(&self, digest: &Digest) -> Result<FrameReader, GetError> {
        let digest = *digest;
        let opened = self.open(&digest).await?;
        let wanted = slice(&opened.parts, &(0..opened.size_bytes));
        let stream = self.clone().chunks(digest, wanted, Form::Frame);
        Ok(FrameReader::new(
            stream.boxed(),
            opened.stored_bytes,
            opened.size_bytes,
        ))
    }

    pub(crate) async fn open(&self, digest: &Digest) -> Result<Opened, GetError> {
        let digest = *digest;
        let found = self
            .0
            .db
            .read("blob_open", move |tx| table::object::find(tx, &digest))
            .await?
            .ok_or(GetError::NotFound(digest))?;
        let damaged = |what| GetError::Damaged { digest, what };
        if found.damaged {
            return Err(damaged("a chunk of it was found broken".to_owned()));
        }
        let parts = manifest::decode(&found.manifest).map_err(|it| damaged(it.0))?;
        let sum: u64 = parts.iter().map(|it| u64::from(it.size_bytes)).sum();
        if sum != found.size_bytes {
            return Err(damaged("its chunks are not as long as it is".to_owned()));
        }
        Ok(Opened {
            parts,
            size_bytes: found.size_bytes,
            stored_bytes: found.stored_bytes,
        })
    }

    fn chunks(
        self,
        digest: Digest,
        wanted: Vec<(Part, u32, u32)>,
        form: Form,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let (first, rest) = wanted.split_at(wanted.len().min(FIRST_WINDOW));
        let windows: Vec<Vec<(Part, u32, u32)>> = std::iter::once(first)
            .chain(rest.chunks(WINDOW))
            .filter(|it| !it.is_empty())
            .map(<[_]>::to_vec)
            .collect();
        let finder = self.clone();
        stream::iter(windows)
            .then(move |window| {
                let blobs = finder.clone();
                async move { blobs.runs(window).await }
            })
            .map_ok(|runs| stream::iter(runs.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(move |run| {
                let blobs = self.clone();
                async move { blobs.read_run(digest, run, form).await }
            })
            .try_buffered(RUNS)
            .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Finds where chunks lie, and puts neighbours together.
    async fn runs(&self, window: Vec<(Part, u32, u32)>) -> io::Result<Vec<Vec<Wanted>>> {
        let mut located = self
            .locate(window.iter().map(|(part, ..)| part.chunk).collect())
            .await?;
        let mut runs: Vec<Vec<Wanted>> = Vec::new();
        for (part, from, to) in window {
            // One chunk may occur several times.
            let chunk = match located.get(&part.chunk) {
                Some(found) if found.size_bytes == part.size_bytes => found.clone(),
                _ => return Err(self.lost(part.chunk, "it is not recorded").await),
            };
            let wanted = Wanted { chunk, from, to };
            match runs.last_mut() {
                Some(run) if joins(run, &wanted) => run.push(wanted),
                _ => runs.push(vec![wanted]),
            }
        }
        located.clear();
        Ok(runs)
    }

    pub(crate) async fn locate(&self, ids: Vec<i64>) -> io::Result<HashMap<i64, Located>> {
        let found = self
            .0
            .db
            .read("blob_locate", move |tx| table::chunk::locate(tx, &ids))
            .await
            .map_err(io::Error::other)?;
        Ok(found.into_iter().map(|it| (it.id, it)).collect())
    }

    /// Reads neighbours. A pack may have gone since they were found, because what was alive in it was moved: then they are
    /// looked for once more.
    async fn read_run(
        &self,
        digest: Digest,
        run: Vec<Wanted>,
        form: Form,
    ) -> io::Result<Vec<Bytes>> {
        let begun = std::time::Instant::now();
        let pieces = self.read_found(digest, run, form).await?;
        let bytes = pieces.iter().map(|it| it.len() as u64).sum();
        self.0.metrics.note_read(bytes, begun.elapsed());
        Ok(pieces)
    }

    async fn read_found(
        &self,
        digest: Digest,
        run: Vec<Wanted>,
        form: Form,
    ) -> io::Result<Vec<Bytes>> {
        let run = Arc::new(run);
        match self.try_run(&run, form).await {
            Ok(pieces) => Ok(pieces),
            Err(Failed::Io(error)) => Err(error),
            Err(Failed::Damaged(..)) => {
                let ids = run.iter().map(|it| it.chunk.id).collect();
                let now = self.locate(ids).await?;
                let mut pieces = Vec::with_capacity(run.len());
                for wanted in run.iter() {
                    let Some(chunk) = now.get(&wanted.chunk.id).cloned() else {
                        return Err(self.lost(wanted.chunk.id, "it is not recorded").await);
                    };
                    let one = Wanted {
                        chunk,
                        ..wanted.clone()
                    };
                    match self.try_run(&Arc::new(vec![one]), form).await {
                        Ok(piece) => pieces.extend(piece),
                        Err(Failed::Io(error)) => return Err(error),
                        Err(Failed::Damaged(chunk, damage)) => {
                            let what =
                                format!("{damage} (pack {}, byte {})", chunk.pack, chunk.position);
                            tracing::error!(%digest, what, "an object is damaged");
                            return Err(self.lost(chunk.id, &what).await);
                        }
                    }
                }
                Ok(pieces)
            }
        }
    }

    async fn try_run(&self, run: &Arc<Vec<Wanted>>, form: Form) -> Result<Vec<Bytes>, Failed> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(Vec::new());
        };
        let start = first.chunk.position;
        let end = last.chunk.position + u64::from(last.chunk.stored_bytes);
        let read = self.0.shelf.read(&first.chunk.pack, start..end).await;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(it)
                if matches!(
                    it.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
                ) =>
            {
                return Err(Failed::Damaged(first.chunk.clone(), Damage::Short));
            }
            Err(it) => return Err(Failed::Io(it)),
        };
        let run = run.clone();
        let work = tokio::task::spawn_blocking(move || {
            let open = |wanted: &Wanted| {
                let chunk = &wanted.chunk;
                let at = usize::try_from(chunk.position - start).unwrap_or(usize::MAX);
                let frame = bytes.slice(at..at + chunk.stored_bytes as usize);
                let opened = match form {
                    Form::Frame => frame::check(&frame, chunk.checksum).map(|()| frame),
                    Form::Content => frame::unpack(&frame, chunk.digest, chunk.size_bytes)
                        .map(|it| it.slice(wanted.from as usize..wanted.to as usize)),
                };
                opened.map_err(|it| Failed::Damaged(chunk.clone(), it))
            };
            run.iter().map(open).collect()
        });
        work.await.map_err(|it| Failed::Io(io::Error::other(it)))?
    }

    /// Notes that a chunk cannot be had, and says so.
    async fn lost(&self, chunk: i64, what: &str) -> io::Error {
        if let Err(error) = self.report_damage(chunk, what).await {
            tracing::error!(%error, chunk, "cannot note that a chunk is damaged");
        }
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the object is damaged: chunk {chunk}: {what}"),
        )
    }

    /// Reads one whole chunk.
    pub(crate) async fn read_chunk(&self, digest: Digest, part: Part) -> io::Result<Bytes> {
        let mut pieces = Vec::new();
        for run in self.runs(vec![(part, 0, part.size_bytes)]).await? {
            pieces.extend(self.read_run(digest, run, Form::Content).await?);
        }
        Ok(pieces.pop().unwrap_or_default())
    }
}

enum Failed {
    Damaged(Located, Damage),
    Io(io::Error),
}

/// Whether a chunk is read together with those before it.
fn joins(run: &[Wanted], next: &Wanted) -> bool {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return false;
    };
    let after = last.chunk.position + u64::from(last.chunk.stored_bytes) + LABEL_BYTES as u64;
    let end = next.chunk.position + u64::from(next.chunk.stored_bytes);
    first.chunk.pack == next.chunk.pack
        && (after..=after + GAP_BYTES).contains(&next.chunk.position)
        && end - first.chunk.position <= RUN_BYTES
}

/// Returns the chunks that a range touches, and which part of each.
fn slice(parts: &[Part], range: &Range<u64>) -> Vec<(Part, u32, u32)> {
    let (mut at, mut wanted) = (0, Vec::new());
    for part in parts {
        let end = at + u64::from(part.size_bytes);
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            let inside = |it: u64| u32::try_from(it - at).unwrap_or(part.size_bytes);
            wanted.push((*part, inside(from), inside(to)));
        }
        at = end;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touch_the_chunks_they_lie_in() {
        let parts = [10, 20, 5].map(|size_bytes| Part {
            chunk: i64::from(size_bytes),
            size_bytes,
        });
        let cut = |range| {
            slice(&parts, &range)
                .iter()
                .map(|(it, from, to)| (it.chunk, *from, *to))
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(0..35), [(10, 0, 10), (20, 0, 20), (5, 0, 5)]);
        assert_eq!(cut(10..30), [(20, 0, 20)]);
        assert_eq!(cut(9..31), [(10, 9, 10), (20, 0, 20), (5, 0, 1)]);
        assert_eq!(cut(12..13), [(20, 2, 3)]);
        assert_eq!(cut(35..35), []);
    }
}
