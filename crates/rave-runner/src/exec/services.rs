//! The services of a job: each an image in a sandbox and a network of its own, reached by its names.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::launcher::{Launch, Launcher};
use super::pod::Pod;
use super::wanted::Wanted;
use super::{Outcome, SetupError};
use crate::image::Image;
use crate::trace::{Tone, Trace};

/// How much of a service's log is kept, to be shown when it does not answer.
const TAIL: usize = 16 << 10;
/// How many of a service's ports are tried.
const PORTS: usize = 20;
/// How long a service has between TERM and KILL.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// A service that runs.
pub(super) struct Service {
    name: String,
    aliases: Vec<String>,
    address: Ipv4Addr,
    ports: Vec<u16>,
    log: Arc<Mutex<Log>>,
    stop: CancellationToken,
    task: AbortOnDropHandle<Outcome>,
    /// Keeps the layers.
    _image: Arc<Image>,
}

/// What a service prints: its last part, and all of it in the job's log if the job wants to see it.
struct Log {
    tail: Vec<u8>,
    line: Vec<u8>,
    show: Option<(Trace, String)>,
}

impl Log {
    fn take(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
        let Some((trace, name)) = &self.show else {
            return;
        };
        for byte in piece {
            if *byte != b'\n' && self.line.len() < TAIL {
                self.line.push(*byte);
                continue;
            }
            let text = format!("[service:{name}] {}", String::from_utf8_lossy(&self.line));
            trace.line(Tone::Plain, text.trim_end());
            self.line.clear();
        }
    }
}

impl Service {
    /// Starts a service from its orders.
    pub(super) fn start(
        launcher: &Arc<Launcher>,
        launch: Launch,
        wanted: &Wanted,
        image: Arc<Image>,
        address: Ipv4Addr,
        show: Option<Trace>,
    ) -> Self {
        let name = wanted.aliases.last().unwrap_or(&wanted.name).clone();
        let show = show.map(|it| (it, name.clone()));
        let log = Arc::new(Mutex::new(Log {
            tail: Vec::new(),
            line: Vec::new(),
            show,
        }));
        let stop = CancellationToken::new();
        let (launcher, stopped, into) = (launcher.clone(), stop.clone(), log.clone());
        let task = TaskTracker::new().spawn(async move {
            let mut output = |piece: &[u8]| {
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(piece)
            };
            launcher.run(launch, &mut output, &stopped).await
        });
        Self {
            name: wanted.name.clone(),
            aliases: wanted.aliases.clone(),
            address,
            ports: ports(wanted, &image),
            log,
            stop,
            task: AbortOnDropHandle::new(task),
            _image: image,
        }
    }

    /// Returns the lines that this service adds to `/etc/hosts`.
    pub(super) fn hosts(address: Ipv4Addr, aliases: &[String]) -> String {
        if aliases.is_empty() {
            String::new()
        } else {
            format!("{address} {}\n", aliases.join(" "))
        }
    }

    /// Waits until one of its ports answers, it has ended, or the time is up. Says in the log when it does not answer.
    async fn await_ready(&self, pod: &Pod, deadline: Instant, trace: &Trace) {
        let started = Instant::now();
        while !self.ports.is_empty() && Instant::now() < deadline {
            for port in &self.ports {
                if pod.is_open(self.address, *port).await {
                    return;
                }
            }
            if self.task.is_finished() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        if self.ports.is_empty() {
            return;
        }
        let state = if self.task.is_finished() {
            "has ended"
        } else {
            "does not answer"
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "WARNING: the service {} {state} after {} s (tried: TCP {}). What it printed last:",
            self.name,
            started.elapsed().as_secs(),
            self.ports
                .iter()
                .map(u16::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        );
        trace.line(Tone::Warning, &text);
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(&log.tail).lines() {
            trace.line(Tone::Plain, &format!("  {line}"));
        }
    }
}

/// Waits for all services at once.
///
/// # Errors
/// Only when the job is stopped meanwhile: a job may do without a service.
pub(super) async fn await_ready(
    services: &[Service],
    pod: &Pod,
    patience: Duration,
    trace: &Trace,
    stop: &CancellationToken,
    deadline: Instant,
) -> Result<(), SetupError> {
    let names: Vec<String> = services
        .iter()
        .map(|it| format!("{} ({})", it.name, it.aliases.join(", ")))
        .collect();
    trace.line(
        Tone::Plain,
        &format!("Waiting for services: {}", names.join("; ")),
    );
    let until = Instant::now() + patience;
    let all =
        futures_util::future::join_all(services.iter().map(|it| it.await_ready(pod, until, trace)));
    tokio::select! {
        _ = all => Ok(()),
        () = stop.cancelled() => Err(SetupError::Stopped),
        () = sleep_until(deadline) => Err(SetupError::Stopped),
    }
}

/// Ends all services, and waits until nothing of them is left.
pub(super) async fn end(services: Vec<Service>) {
    for service in &services {
        service.stop.cancel();
    }
    for service in services {
        // One that cannot be waited for is ended by dropping it.
        let _ = service.task.await;
    }
}

/// Returns the ports by which a service shows that it is ready.
fn ports(wanted: &Wanted, image: &Image) -> Vec<u16> {
    let own = image
        .settings
        .environment()
        .find(|it| it.0 == "HEALTHCHECK_TCP_PORT");
    let named = wanted
        .variable("HEALTHCHECK_TCP_PORT")
        .map(str::to_owned)
        .or(own.map(|it| it.1));
    match named.and_then(|it| it.trim().parse().ok()) {
        Some(port) => vec![port],
        None => image.settings.tcp_ports().into_iter().take(PORTS).collect(),
    }
}
