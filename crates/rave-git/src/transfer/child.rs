//! A child that moves a pack: its output in large pieces, and its end.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use nix::fcntl::{FcntlArg, fcntl};
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdout, Command};
use tokio::sync::mpsc;

use crate::error::GitError;
use crate::git::child::Group;
use crate::git::command::Runner;
use crate::transfer::Service;

/// How much is read at once. A pipe's own 64 KiB make both ends wait for each other too often.
const PIECE_BYTES: usize = 256 << 10;
/// Longest life of a child that moves a pack.
pub(crate) const LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a client may take no bytes before its child is ended.
pub(crate) const STALL: Duration = Duration::from_secs(600);

/// Settings that matter to packs only.
const SETTINGS: &[(&str, &str)] = &[
    // Shallow, partial, single commit: whatever a job or a careful clone asks for. Not `uploadpack.allowRefInWant`: with
    // it git 2.39 answers a shallow clone in an order that its own client refuses.
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.allowReachableSHA1InWant", "true"),
    ("uploadpack.keepAlive", "5"),
    // Kept for the server's own purposes. Who can read the repository may know them; nobody needs to see them listed.
    ("transfer.hideRefs", "refs/keep-around"),
    // Jobs fetch these; a push neither needs nor may move them.
    ("receive.hideRefs", "refs/pipelines"),
    ("receive.advertisePushOptions", "true"),
    ("receive.fsckObjects", "true"),
    // Old histories have commits that a strict check refuses though every version of git reads them.
    ("receive.fsck.missingSpaceBeforeDate", "ignore"),
    ("receive.fsck.zeroPaddedFilemode", "ignore"),
    ("receive.fsck.badTimezone", "ignore"),
    ("receive.keepAlive", "5"),
];

/// Makes the command of a service for a repository.
pub(crate) fn command(
    runner: &Runner,
    service: Service,
    repository: &Path,
    protocol: Option<&str>,
    more: &[(&str, &str)],
) -> Command {
    let settings: Vec<_> = SETTINGS.iter().chain(more).copied().collect();
    let mut command = runner.command(repository, &settings);
    command.args([service.command(), "--stateless-rpc"]);
    if let Some(protocol) = protocol {
        command.env("GIT_PROTOCOL", protocol);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Starts a child and returns it with its output.
pub(crate) fn start(
    command: &mut Command,
    name: &'static str,
) -> Result<(Group, Pieces), GitError> {
    let failed = |source| GitError::Child {
        command: name,
        source,
    };
    let mut group = Group::spawn(command).map_err(failed)?;
    let stdout = group
        .child()
        .stdout
        .take()
        .ok_or(GitError::Answer { command: name })?;
    // Refused when the user has too much in pipes already; then it stays small.
    let _ = fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(256 << 10));
    let pieces = Pieces {
        stdout,
        buffer: BytesMut::new(),
    };
    Ok((group, pieces))
}

/// A child's output in large pieces, none of them copied.
#[derive(Debug)]
pub(crate) struct Pieces {
    stdout: ChildStdout,
    buffer: BytesMut,
}

impl Pieces {
    /// Returns the next piece, `None` at the end.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        if self.buffer.capacity() < PIECE_BYTES / 4 {
            self.buffer.reserve(PIECE_BYTES);
        }
        let count = self.stdout.read_buf(&mut self.buffer).await?;
        Ok((count > 0).then(|| self.buffer.split().freeze()))
    }
}

/// Makes an answer's body and the end that fills it. Whoever fills it learns that the client is gone.
pub(crate) fn channel() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(2);
    let stream = stream::poll_fn(move |context| receiver.poll_recv(context));
    let stream = futures_util::StreamExt::map(stream, Ok::<_, std::convert::Infallible>);
    (sender, Body::from_stream(stream))
}
