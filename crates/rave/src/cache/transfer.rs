//! NARs between disks and networks: packing, unpacking and hashing are work for threads that may wait, requests are not.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use futures_util::{Stream, StreamExt as _, stream};
use rave_nix::nar::{self, NarDigest};
use rave_nix::{Compression, NarInfo};
use reqwest::{Body, Response};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::client::UploadError;
use crate::failure::hinted;

type Piece = Vec<u8>;

/// The size of what goes from thread to thread, and how many may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 4;

/// What is written goes, in pieces, to whoever holds the other end.
struct Sender {
    to: mpsc::Sender<io::Result<Piece>>,
    piece: Piece,
}

impl Sender {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Piece::with_capacity(PIECE));
        match piece.is_empty() || self.to.blocking_send(Ok(piece)).is_ok() {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..len]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// What was received is read.
struct Receiver {
    from: mpsc::Receiver<reqwest::Result<bytes::Bytes>>,
    piece: bytes::Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => {
                    self.piece =
                        piece.map_err(|it| io::Error::other(rave_http::error::chain(&it)))?
                }
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len());
        buffer[..len].copy_from_slice(&self.piece.split_to(len));
        Ok(len)
    }
}

fn body(
    from: mpsc::Receiver<io::Result<Piece>>,
    mut sent: impl FnMut(u64) + Send + Sync + 'static,
) -> Body {
    let pieces = stream::unfold(from, async |mut from| {
        from.recv().await.map(|it| (it, from))
    });
    Body::wrap_stream(pieces.inspect(move |it| {
        if let Ok(piece) = it {
            sent(piece.len() as u64);
        }
    }))
}

/// Returns a body with something before it.
pub(super) fn behind(front: String, body: Body) -> Body {
    use http_body_util::BodyExt as _;
    let front = stream::once(async { Ok(bytes::Bytes::from(front)) });
    let rest: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send + Sync>> =
        Box::pin(body.into_data_stream());
    Body::wrap_stream(front.chain(rest))
}

/// Hands the NAR of something on disk to `use_body`. What went wrong with packing is said rather than what followed from it.
pub(super) async fn packed<T, E: From<anyhow::Error>>(
    path: PathBuf,
    sent: impl FnMut(u64) + Send + Sync + 'static,
    use_body: impl AsyncFnOnce(Body) -> Result<T, E>,
) -> Result<T, E> {
    let (to, from) = mpsc::channel(WAITING);
    let work = spawn_blocking(move || {
        let mut out = Sender {
            to: to.clone(),
            piece: Piece::with_capacity(PIECE),
        };
        let done =
            nar::pack(&path, &mut out).and_then(|_| out.flush().map_err(nar::PackError::Write));
        if let Err(error) = &done {
            // The request must not end as if all were there.
            let _ = to.blocking_send(Err(io::Error::other(error.to_string())));
        }
        done
    });
    let result = use_body(body(from, sent)).await;
    match work.await.map_err(anyhow::Error::from)? {
        // Nobody listened any more: the reason is the request's.
        Err(nar::PackError::Write(_)) | Ok(_) => result,
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

/// Downloads a NAR, checks it against its narinfo, and hands its pieces to a thread that may wait. The last piece is
/// handed on only when all of it was right.
pub(super) async fn unpacked<T: Send + 'static>(
    response: Response,
    narinfo: &NarInfo,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()> + Send + 'static,
    finish: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (to, from) = mpsc::channel(WAITING);
    let wanted = narinfo.clone();
    let work = spawn_blocking(move || {
        let from = Receiver {
            from,
            piece: bytes::Bytes::new(),
        };
        decompress(wanted.compression, from, |nar| {
            check(nar, &wanted, &mut take)
        })?;
        finish()
    });
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        if to.send(piece).await.is_err() {
            break;
        }
    }
    drop(to);
    work.await?
}

/// Hands a NAR to a client's upload as it comes from another cache.
pub(super) async fn relayed<T>(
    response: Response,
    narinfo: &NarInfo,
    sent: impl FnMut(u64) + Send + Sync + 'static,
    use_body: impl AsyncFnOnce(Body) -> Result<T, UploadError>,
) -> Result<T, UploadError> {
    let (to, from) = mpsc::channel(WAITING);
    let failed = to.clone();
    let take = move |bytes: &[u8]| match to.blocking_send(Ok(bytes.to_vec())) {
        Ok(()) => Ok(()),
        Err(_) => Err(anyhow!(Hangup)),
    };
    let download = async {
        let result = unpacked(response, narinfo, take, || Ok(())).await;
        if let Err(error) = &result {
            let _ = failed
                .send(Err(io::Error::other(format!("{error:#}"))))
                .await;
        }
        drop(failed);
        result
    };
    let (downloaded, uploaded) = tokio::join!(download, use_body(body(from, sent)));
    match downloaded {
        Err(error) if error.is::<Hangup>() => uploaded,
        // What is wrong stays wrong; what broke off may not.
        Err(error) if error.chain().any(|it| it.is::<io::Error>()) => {
            Err(UploadError::Again(error))
        }
        Err(error) => Err(UploadError::Final(error)),
        Ok(()) => uploaded,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("nobody takes the NAR any more")]
struct Hangup;

/// Reads a NAR to its end and compares it with what is said of it.
fn check(
    nar: &mut dyn Read,
    narinfo: &NarInfo,
    take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let info = &narinfo.info;
    let mut digest = NarDigest::new(0);
    let mut held = Vec::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let len = nar
            .read(&mut buffer)
            .with_context(|| format!("cannot download {}", info.path))?;
        if len == 0 {
            break;
        }
        let piece = &buffer[..len];
        digest
            .push(piece)
            .with_context(|| format!("what the cache has for {}", info.path))?;
        if digest.offset() > info.nar_size {
            bail!(
                "the NAR of {} is larger than the {} bytes that its narinfo says",
                info.path,
                info.nar_size
            );
        }
        if !held.is_empty() {
            take(&held)?;
        }
        held.clear();
        held.extend_from_slice(piece);
    }
    let found = digest
        .finish()
        .with_context(|| format!("what the cache has for {}", info.path))?;
    if (found.nar_hash, found.nar_size) != (info.nar_hash, info.nar_size) {
        bail!(
            "the NAR of {} has the hash {} and not {}, as its narinfo says",
            info.path,
            found.nar_hash,
            info.nar_hash
        );
    }
    take(&held)
}

/// Calls `read` with what a compression stands for.
fn decompress(
    compression: Compression,
    from: Receiver,
    read: impl FnOnce(&mut dyn Read) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match compression {
        Compression::None => read(&mut { from }),
        // Reads one frame after another to the end.
        Compression::Zstd => read(&mut zstd::stream::read::Decoder::new(from)?),
        Compression::Gzip => read(&mut flate2::read::MultiGzDecoder::new(from)),
        Compression::Xz | Compression::Lzma => by_program("xz", from, read),
        Compression::Bzip2 => by_program("bzip2", from, read),
        Compression::Brotli => by_program("brotli", from, read),
        Compression::Lz4 => by_program("lz4", from, read),
        Compression::Lzip => by_program("lzip", from, read),
        other => bail!("NARs that are compressed with {other} are not understood"),
    }
}

/// Has a program of the system decompress, for what is seldom met.
fn by_program(
    name: &str,
    mut from: Receiver,
    read: impl FnOnce(&mut dyn Read) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let child = Command::new(name)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| {
        hinted(
            format!("cannot run {name}, which this cache's NARs need"),
            format!("install {name}"),
            Some(error.into()),
        )
    })?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (mut input, mut output) = input.zip(output).context("the program has no pipes")?;
    let (fed, done) = std::thread::scope(|scope| {
        let feeder = scope.spawn(move || io::copy(&mut from, &mut input).map(|_| ()));
        let done = read(&mut output);
        drop(output);
        (feeder.join(), done)
    });
    let status = child.wait()?;
    done?;
    fed.map_err(|_| anyhow!("reading failed"))?
        .context("cannot download")?;
    match status.success() {
        true => Ok(()),
        false => bail!("{name} says that the NAR is not compressed as its narinfo says ({status})"),
    }
}
