//! NARs on their way in: unpacked, found to be NARs while they stream by, and stored. Nothing is kept in memory or in a
//! temporary file.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_compression::tokio::bufread::{
    BrotliDecoder, BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use rave_blob::{Digest, PutError};
use rave_nix::nar::NarParser;
use rave_nix::{Compression, Sha256};
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::io::{AsyncBufRead, AsyncRead};
use tokio_util::io::{ReaderStream, StreamReader};

use super::Caches;
use crate::bytes::put_failed;
use crate::error::CacheError;

/// How much is unpacked at once.
const PIECE: usize = 128 * 1024;

/// What packed files begin with.
const SIGNS: [(Compression, &[u8]); 4] = [
    (Compression::Gzip, &[0x1f, 0x8b]),
    (Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
    (Compression::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0]),
    (Compression::Bzip2, b"BZh"),
];
const LONGEST_SIGN: usize = 6;

/// Bytes as a request brings them.
pub(crate) type Incoming<'a> = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + 'a>>;

/// A NAR that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) nar_hash: Sha256,
    pub(crate) nar_size: u64,
    /// What of it had to be stored.
    pub(crate) added_bytes: u64,
    pub(crate) was_known: bool,
    /// The file as it came.
    pub(crate) file_hash: Sha256,
    pub(crate) file_size: u64,
}

/// What a NAR should be, as far as its sender said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) nar_hash: Option<Sha256>,
    pub(crate) nar_size: Option<u64>,
    /// Whether the file as it came is to be hashed too.
    pub(crate) hashes_file: bool,
}

/// The most memory that unpacking xz may take: a file says itself how much it needs, and `xz -9` needs 65 MiB.
const XZ_BYTES: u64 = 256 << 20;

/// What is seen of a NAR while it streams by.
#[derive(Default)]
struct Seen {
    parser: NarParser,
    wrong: Option<CacheError>,
    file: Hasher,
    file_size: u64,
    broken: Option<io::Error>,
}

type Watch = Arc<Mutex<Seen>>;

fn locked(watch: &Watch) -> std::sync::MutexGuard<'_, Seen> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caches {
    /// Stores a NAR that comes packed in some way. It is a NAR and has the size and hash that were expected, or it is refused.
    pub(crate) async fn receive(
        &self,
        incoming: Incoming<'_>,
        compression: Compression,
        expected: Expected,
    ) -> Result<Received, CacheError> {
        let limit = self.config.nar_limit_bytes;
        if expected.nar_size.is_some_and(|it| it > limit) {
            return Err(CacheError::TooLarge { limit_bytes: limit });
        }
        let watch = Watch::default();
        let file = watched_file(incoming, watch.clone(), expected.hashes_file);
        let (file, compression) = recognise(file, compression).await;
        let unpacked = unpack(file, compression)?;
        let nar = watched_nar(unpacked, watch.clone(), expected.nar_size);
        let digest = expected.nar_hash.map(|it| Digest::new(it.0));
        let stored = self.objects.put(Box::pin(nar), limit, digest).await;
        let stored = match stored {
            Ok(stored) => stored,
            Err(PutError::Stream(error)) => {
                let mut seen = locked(&watch);
                // What is wrong with the bytes says more than that the stream of them ended.
                return Err(match (seen.wrong.take(), seen.broken.take()) {
                    (Some(wrong), _) => wrong,
                    (None, Some(broken)) => CacheError::Upload(broken),
                    (None, None) => CacheError::Invalid(format!(
                        "The file cannot be unpacked as {compression}: {error}"
                    )),
                });
            }
            Err(error) => return Err(put_failed(error)),
        };
        let mut seen = locked(&watch);
        let nar_hash = Sha256(*stored.digest.as_bytes());
        if seen.parser.finish().is_err() {
            let (came, of) = (stored.size_bytes, expected.nar_size);
            let of = of.map(|it| format!(" of {it}")).unwrap_or_default();
            return Err(CacheError::Invalid(format!(
                "The NAR ended after {came}{of} bytes: a proxy may limit how large bodies are."
            )));
        }
        let fits = expected.nar_hash.is_none_or(|it| it == nar_hash)
            && expected.nar_size.is_none_or(|it| it == stored.size_bytes);
        if !fits {
            return Err(CacheError::Invalid(format!(
                "Bad NAR Hash or Size: what came has {nar_hash} and {} bytes.",
                stored.size_bytes
            )));
        }
        let file_hash = std::mem::take(&mut seen.file).finalize();
        Ok(Received {
            nar_hash,
            nar_size: stored.size_bytes,
            added_bytes: stored.added_bytes,
            was_known: stored.was_known,
            file_hash: Sha256(file_hash.into()),
            file_size: seen.file_size,
        })
    }
}

/// Hashes and counts the file as it comes.
fn watched_file<'a>(incoming: Incoming<'a>, watch: Watch, hashes: bool) -> Incoming<'a> {
    Box::pin(incoming.map(move |piece| {
        let mut seen = locked(&watch);
        match piece {
            Ok(bytes) => {
                seen.file_size += bytes.len() as u64;
                if hashes {
                    seen.file.update(&bytes);
                }
                Ok(bytes)
            }
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                seen.broken = Some(error);
                Err(again)
            }
        }
    }))
}

/// Reads along in the NAR, up to its expected end.
fn watched_nar<'a>(
    unpacked: Incoming<'a>,
    watch: Watch,
    size: Option<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'a {
    let mut left = size.unwrap_or(u64::MAX);
    let bounded = unpacked.map(move |piece| {
        piece.map(|mut bytes| {
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= bytes.len() as u64;
            (bytes, left == 0)
        })
    });
    // What follows the announced size is not read.
    let mut ended = size == Some(0);
    let bounded = bounded.take_while(move |piece| {
        let goes_on = !ended;
        ended |= matches!(piece, Ok((_, true)));
        std::future::ready(goes_on)
    });
    bounded.map(move |piece| {
        let (bytes, _) = piece?;
        let mut seen = locked(&watch);
        let mut rest: &[u8] = &bytes;
        let wrong = loop {
            match seen.parser.next(&mut rest) {
                Ok(Some(_)) => {}
                Ok(None) if rest.is_empty() => break None,
                Ok(None) => {
                    break Some(CacheError::invalid(
                        "There are bytes after the end of the NAR.",
                    ));
                }
                Err(error) => {
                    break Some(CacheError::Invalid(format!(
                        "The upload is no NAR: {error}"
                    )));
                }
            }
        };
        match wrong {
            None => Ok(bytes),
            Some(wrong) => {
                seen.wrong = Some(wrong);
                Err(io::Error::new(io::ErrorKind::InvalidData, "not a NAR"))
            }
        }
    })
}

/// Tells by its first bytes how a file is packed whose name does not say so: Nix names what it packs with gzip as if it were
/// not packed.
async fn recognise(mut file: Incoming<'_>, named: Compression) -> (Incoming<'_>, Compression) {
    if named != Compression::None {
        return (file, named);
    }
    let mut front = BytesMut::new();
    while front.len() < LONGEST_SIGN {
        match file.next().await {
            Some(Ok(piece)) => front.extend_from_slice(&piece),
            Some(Err(error)) => {
                let read = stream::iter([Ok(front.freeze()), Err(error)]);
                return (Box::pin(read), named);
            }
            None => break,
        }
    }
    let sign = SIGNS.iter().find(|it| front.starts_with(it.1));
    let compression = sign.map_or(Compression::None, |it| it.0);
    let front = stream::iter([Ok(front.freeze())]);
    (Box::pin(front.chain(file)), compression)
}

/// Unpacks a file. Several streams or frames after one another are one NAR.
fn unpack(file: Incoming<'_>, compression: Compression) -> Result<Incoming<'_>, CacheError> {
    macro_rules! through {
        ($decoder:ident, $file:expr) => {{
            let mut decoder = $decoder::new(StreamReader::new($file));
            decoder.multiple_members(true);
            pieces(decoder)
        }};
    }
    Ok(match compression {
        Compression::None => file,
        Compression::Zstd => through!(ZstdDecoder, file),
        Compression::Xz => {
            let mut decoder = XzDecoder::with_mem_limit(StreamReader::new(file), XZ_BYTES);
            decoder.multiple_members(true);
            pieces(decoder)
        }
        Compression::Gzip => through!(GzipDecoder, file),
        Compression::Bzip2 => through!(BzDecoder, file),
        Compression::Brotli => pieces(BrotliDecoder::new(buffered(file))),
        other => {
            return Err(CacheError::Invalid(format!(
                "This server cannot unpack {other}: use zstd, xz, gzip, bzip2, br or none."
            )));
        }
    })
}

fn buffered(file: Incoming<'_>) -> impl AsyncBufRead + Send + Unpin {
    StreamReader::new(file)
}

fn pieces<'a>(reader: impl AsyncRead + Send + 'a) -> Incoming<'a> {
    Box::pin(ReaderStream::with_capacity(reader, PIECE))
}
