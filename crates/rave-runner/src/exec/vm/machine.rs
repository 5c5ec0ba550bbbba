//! A virtual machine that runs: what it is told, and what it answers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::command::AGENT;
use crate::exec::launcher::{Launch, Launcher};
use crate::exec::{Outcome, Output};
use crate::inner::order::{self, Ended, Guest, Report, Script, frame};

/// How much of the console is kept for when something goes wrong.
const CONSOLE: usize = 2000;
/// How long a script has between KILL and the end of its machine.
const LAST: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);
/// The longest message of a machine, which may be hostile.
const LONGEST: u32 = 1 << 20;

/// A virtual machine that runs. Dropping it ends it.
pub(super) struct Machine {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    console: Arc<Console>,
    running: JoinHandle<Outcome>,
    stop: DropGuard,
}

/// The end of what a machine has said for people.
#[derive(Default)]
struct Console(Mutex<VecDeque<u8>>);

impl Console {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let more = kept.len().saturating_sub(CONSOLE);
        kept.drain(..more);
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// What a machine is started with.
pub(super) struct Start<'a> {
    pub(super) launcher: Arc<Launcher>,
    pub(super) tasks: &'a TaskTracker,
    pub(super) launch: Launch,
    /// The machine's directory.
    pub(super) dir: &'a Path,
    pub(super) guest: &'a Guest,
}

/// What a machine says.
enum Said {
    Output(Vec<u8>),
    Ended(Ended),
    Ready,
    Failed(String),
}

impl Machine {
    /// Starts a machine and waits until it is ready.
    ///
    /// # Errors
    /// Says why there is none; `Canceled` and `TimedOut` are outcomes of their own.
    pub(super) async fn start(
        start: Start<'_>,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<Self, Outcome> {
        let console = Arc::new(Console::default());
        let token = CancellationToken::new();
        let (kept, told) = (console.clone(), token.clone());
        let (launcher, launch) = (start.launcher, start.launch);
        let running = start.tasks.spawn(async move {
            let mut output = |bytes: &[u8]| kept.add(bytes);
            launcher.run(launch, &mut output, &told).await
        });
        let mut running = running;
        let guard = token.drop_guard();
        let connected = tokio::select! {
            connected = timeout_at(deadline, connect(start.dir)) => connected,
            ended = &mut running => return Err(ended_early(ended, &console)),
            () = stop.cancelled() => return Err(Outcome::Canceled),
        };
        let Ok(stream) = connected else {
            return Err(Outcome::TimedOut);
        };
        let (reader, writer) = stream.into_split();
        let mut machine = Self {
            reader,
            writer,
            console,
            running,
            stop: guard,
        };
        tokio::select! {
            greeted = timeout_at(deadline, machine.greet(start.guest)) => match greeted {
                Ok(Ok(())) => Ok(machine),
                Ok(Err(reason)) => Err(machine.explain(&reason).await),
                Err(_) => Err(Outcome::TimedOut),
            },
            () = stop.cancelled() => Err(Outcome::Canceled),
        }
    }

    async fn greet(&mut self, guest: &Guest) -> Result<(), String> {
        let greet = async {
            let body = serde_json::to_vec(guest)?;
            self.writer
                .write_all(&frame::encode(frame::GUEST, &body)?)
                .await?;
            self.hear().await
        };
        match greet.await {
            Ok(Said::Ready) => Ok(()),
            Ok(Said::Failed(reason)) => Err(reason),
            Ok(_) => Err("it answered what it was not asked".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Runs a script to its end, or until `stop` or the deadline. What does not end then ends with the machine.
    pub(super) async fn run(
        &mut self,
        script: (&Script, &str),
        output: &mut Output<'_>,
        deadline: Instant,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Outcome {
        let order = serde_json::to_vec(&script).map_err(io::Error::other);
        let order = order.and_then(|it| frame::encode(frame::SCRIPT, &it));
        let sent = match order {
            Ok(order) => self.writer.write_all(&order).await,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        if let Err(error) = sent {
            return self.explain(&error.to_string()).await;
        }
        let mut stopped: Option<Outcome> = None;
        let mut kill_at = Instant::now() + Duration::from_secs(86_400);
        let mut killed = false;
        // A message must not be dropped half read.
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        let mut said = Box::pin(hear(reader));
        let ended = loop {
            tokio::select! {
                heard = &mut said => match heard {
                    (Ok(Said::Output(bytes)), reader) => {
                        output(&bytes);
                        said = Box::pin(hear(reader));
                    }
                    (Ok(Said::Ended(ended)), _) => break Ok(ended),
                    (Ok(Said::Failed(reason)), _) => break Err(reason),
                    (Ok(Said::Ready), _) => break Err("it began anew".to_owned()),
                    (Err(error), _) => break Err(error.to_string()),
                },
                () = stop.cancelled(), if stopped.is_none() => {
                    stopped = Some(Outcome::Canceled);
                    kill_at = Instant::now() + grace;
                    let _ = writer.write_all(&[order::TERMINATE]).await;
                }
                () = sleep_until(deadline), if stopped.is_none() => {
                    stopped = Some(Outcome::TimedOut);
                    kill_at = Instant::now() + grace;
                    let _ = writer.write_all(&[order::TERMINATE]).await;
                }
                () = sleep_until(kill_at) => {
                    if killed {
                        break Err("it does not stop its script".to_owned());
                    }
                    killed = true;
                    kill_at = Instant::now() + LAST;
                    let _ = writer.write_all(&[order::KILL]).await;
                }
            }
        };
        drop(said);
        match (stopped, ended) {
            (Some(outcome), _) => outcome,
            (None, Ok(ended)) => Self::outcome(ended),
            (None, Err(reason)) => self.explain(&reason).await,
        }
    }

    fn outcome(ended: Ended) -> Outcome {
        match ended.report {
            Report::Exited(0) => Outcome::Exited(0),
            Report::Failed(reason) => Outcome::Failed(reason),
            _ if ended.oom_kills > 0 => Outcome::OutOfMemory,
            Report::Exited(code) => Outcome::Exited(code),
            Report::Signaled(signal) => Outcome::Signaled(signal),
        }
    }

    async fn hear(&mut self) -> io::Result<Said> {
        hear(&mut self.reader).await.0
    }

    /// Returns why the machine does not do what it should: what ended it, if it has ended.
    async fn explain(&mut self, reason: &str) -> Outcome {
        let ended = timeout_at(Instant::now() + LAST, &mut self.running).await;
        match ended {
            Ok(ended) => ended_early(ended, &self.console),
            Err(_) => failed(reason, &self.console),
        }
    }

    /// Ends the machine and waits until nothing of it is left.
    pub(super) async fn end(self) {
        drop(self.stop);
        // How it ends is nobody's concern any more.
        let _ = self.running.await;
    }
}

fn failed(reason: &str, console: &Console) -> Outcome {
    let console = console.text();
    let said = match console.as_str() {
        "" => String::new(),
        text => format!("; its console says: {text}"),
    };
    Outcome::Failed(format!("the virtual machine failed: {reason}{said}"))
}

fn ended_early(ended: Result<Outcome, tokio::task::JoinError>, console: &Console) -> Outcome {
    match ended {
        Ok(Outcome::Failed(reason)) => failed(&reason, console),
        Ok(Outcome::Exited(status)) => failed(&format!("it ended with status {status}"), console),
        Ok(outcome) => outcome,
        Err(error) => failed(&error.to_string(), console),
    }
}

/// Connects to a machine as soon as it listens.
async fn connect(dir: &Path) -> UnixStream {
    loop {
        // By way of the directory, because a socket's path must be short.
        if let Ok(dir) = File::open(dir) {
            let path = format!("/proc/self/fd/{}/{AGENT}", dir.as_raw_fd());
            if let Ok(stream) = UnixStream::connect(path).await {
                return stream;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Receives one message, and returns what it was read from.
async fn hear(reader: &mut OwnedReadHalf) -> (io::Result<Said>, &mut OwnedReadHalf) {
    let heard = receive(reader).await;
    (heard, reader)
}

async fn receive(reader: &mut OwnedReadHalf) -> io::Result<Said> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it says what is no message");
    let tag = reader.read_u8().await?;
    let len = reader.read_u32_le().await?;
    if len > LONGEST {
        return Err(invalid());
    }
    let mut body = vec![0; len as usize];
    reader.read_exact(&mut body).await?;
    Ok(match tag {
        frame::OUTPUT => Said::Output(body),
        frame::READY => Said::Ready,
        frame::ENDED => Said::Ended(serde_json::from_slice(&body)?),
        frame::FAILED => Said::Failed(String::from_utf8_lossy(&body).into_owned()),
        _ => return Err(invalid()),
    })
}
