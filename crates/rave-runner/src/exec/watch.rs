//! A script that is running: its output, its end, and what stops it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cgroup::ScriptGroup;
use super::{Outcome, Output};
use crate::inner::order::{self, Report};

/// A script that is running.
pub(super) struct Watch<'a> {
    grace: Duration,
    group: Option<&'a ScriptGroup>,
    child: &'a mut Child,
    /// What it was stopped for.
    pub(super) stopped: Option<Outcome>,
    kill_at: Option<Instant>,
}

impl<'a> Watch<'a> {
    pub(super) const fn new(
        grace: Duration,
        group: Option<&'a ScriptGroup>,
        child: &'a mut Child,
    ) -> Self {
        Self {
            grace,
            group,
            child,
            stopped: None,
            kill_at: None,
        }
    }

    /// Passes on output and stops the script when told to, until it has reported and all its output is read.
    pub(super) async fn follow(
        &mut self,
        socket: &mut UnixStream,
        reader: &mut pipe::Receiver,
        output: &mut Output<'_>,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> io::Result<Option<Report>> {
        let mut buffer = vec![0; 64 << 10];
        let mut said = Vec::new();
        let (mut silent, mut closed) = (false, false);
        let mut killed = false;
        // The socket closes when the helper has ended, and with it everything that could still print.
        while !closed || !silent {
            let far = Instant::now() + Duration::from_secs(86_400);
            tokio::select! {
                read = reader.read(&mut buffer), if !silent => match read? {
                    0 => silent = true,
                    len => output(&buffer[..len]),
                },
                read = socket.read_buf(&mut said), if !closed => {
                    if matches!(read, Ok(0) | Err(_)) {
                        closed = true;
                        // Nothing prints any more; what lingers in the pipe is read within moments.
                        self.kill_at = Some(Instant::now() + Duration::from_secs(2));
                    }
                }
                () = stop.cancelled(), if self.stopped.is_none() => self.stop(socket, Outcome::Canceled).await,
                () = sleep_until(deadline), if self.stopped.is_none() => self.stop(socket, Outcome::TimedOut).await,
                () = sleep_until(self.kill_at.unwrap_or(far)), if self.kill_at.is_some() => {
                    if closed || killed {
                        // It did not help: give up on the output of whatever survives a KILL.
                        self.kill(socket).await;
                        let _ = self.child.start_kill();
                        break;
                    }
                    self.kill(socket).await;
                    killed = true;
                    self.kill_at = Some(Instant::now() + Duration::from_secs(5));
                }
            }
        }
        let body = said.get(4..).unwrap_or_default();
        Ok(serde_json::from_slice(body).ok())
    }

    async fn stop(&mut self, socket: &mut UnixStream, outcome: Outcome) {
        self.stopped = Some(outcome);
        self.kill_at = Some(Instant::now() + self.grace);
        // The helper may be gone already, which is what is wanted.
        let _ = socket.write_all(&[order::TERMINATE]).await;
    }

    pub(super) async fn kill(&mut self, socket: &mut UnixStream) {
        let _ = socket.write_all(&[order::KILL]).await;
        if let Some(group) = self.group {
            group.kill();
            let _ = self.child.start_kill();
        }
    }
}
