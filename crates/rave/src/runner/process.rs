//! `rave runner run`: all runners of a configuration file in one process, which follows the file as it changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use rave_core::time::{Clock as _, SystemClock};
use rave_runner::{Metrics, Pool, Registrar, Runner, RunnerError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::commands::{self, FileArgs};
use super::edit;
use super::file::{Entry, File, Parsed};
use super::metrics_page;
use crate::logging;
use crate::wiring::{self, VERSION};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Serve metrics here, such as `127.0.0.1:9252`, whatever the file says
    #[arg(long, value_name = "ADDRESS")]
    listen_address: Option<String>,
    /// Log as `human` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["human", "json"])]
    log_format: Option<String>,
}

/// Runs jobs for all entries until told to stop.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (_, parsed) = commands::load(&args.file.config)?;
    let log = crate::config::Log {
        json: args
            .log_format
            .as_deref()
            .map_or(parsed.file.json_log, |it| it == "json"),
        level: level(parsed.file.log_level.as_deref()).to_owned(),
    };
    logging::start(&log, &logging::Target::Stderr)?;
    super::install_tls();
    wiring::runtime()?.block_on(async {
        let mut process = Process::new(args.file.config.clone(), &parsed);
        let listen = args
            .listen_address
            .as_ref()
            .or(parsed.file.listen_address.as_ref());
        let stop = CancellationToken::new();
        if let Some(address) = listen {
            metrics_page::serve(
                address,
                process.metrics.clone(),
                &process.tasks,
                stop.clone(),
            )
            .await?;
        }
        process.follow(parsed);
        process.work().await?;
        stop.cancel();
        process.tasks.close();
        process.tasks.wait().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Returns the filter for one of the stock runner's levels.
fn level(name: Option<&str>) -> &str {
    match name {
        Some("debug" | "trace") => "debug",
        Some("warn" | "warning") => "warn",
        Some("error" | "fatal" | "panic") => "error",
        _ => "info",
    }
}

/// A runner of the file at work.
struct Working {
    entry: Entry,
    drain: CancellationToken,
    ended: JoinHandle<()>,
}

/// The process and its runners.
struct Process {
    path: PathBuf,
    /// When the file was changed, as far as this process knows.
    read_at: Option<SystemTime>,
    working: BTreeMap<String, Working>,
    /// Runners that left the file and finish their jobs.
    leaving: Vec<JoinHandle<()>>,
    said: Vec<String>,
    pool: Pool,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    abort: CancellationToken,
}

/// What woke the process.
enum Event {
    Look,
    Reload,
    Stop,
}

impl Process {
    fn new(path: PathBuf, parsed: &Parsed) -> Self {
        let metrics = Arc::new(Metrics::default());
        metrics.set_version(VERSION);
        Self {
            read_at: changed_at(&path),
            path,
            working: BTreeMap::new(),
            leaving: Vec::new(),
            said: Vec::new(),
            pool: Pool::new(parsed.file.concurrent),
            metrics,
            tasks: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Lets the file be carried out: what is new begins, what is gone finishes its jobs, what changed begins anew.
    fn follow(&mut self, parsed: Parsed) {
        let Parsed { file, notices } = parsed;
        for notice in notices {
            if !self.said.contains(&notice) {
                tracing::warn!("{notice}");
                self.said.push(notice);
            }
        }
        self.metrics.configuration_loaded(true);
        self.metrics.set_concurrent(file.concurrent);
        self.pool.resize(file.concurrent);
        let wanted: BTreeMap<String, &Entry> =
            file.entries.iter().map(|it| (it.key(), it)).collect();
        let gone: Vec<String> = self
            .working
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(old) = self.working.remove(&key) {
                tracing::info!(
                    runner = old.entry.name,
                    "takes no more jobs: it left the configuration"
                );
                old.drain.cancel();
                self.leaving.push(old.ended);
            }
        }
        for (key, entry) in wanted {
            let before = match self.working.remove(&key) {
                Some(old) if old.entry == *entry && !old.ended.is_finished() => {
                    self.working.insert(key, old);
                    continue;
                }
                Some(old) => {
                    // The new one has the same directories: it begins when the old one's jobs have ended.
                    old.drain.cancel();
                    Some(old.ended)
                }
                None => None,
            };
            let working = self.start(entry.clone(), &file, before);
            self.working.insert(key, working);
        }
        if self.working.is_empty() {
            tracing::warn!("the configuration has no runners; add one with `rave runner register`");
        }
    }

    fn start(&self, entry: Entry, file: &File, before: Option<JoinHandle<()>>) -> Working {
        let drain = CancellationToken::new();
        let directory = super::directory_of(&self.path);
        let config = super::config_of(&entry, &directory, file).map(|mut config| {
            config.pool = Some(self.pool.clone());
            config.metrics = self.metrics.clone();
            config
        });
        let (stop, abort) = (drain.clone(), self.abort.clone());
        let (name, pause) = (entry.name.clone(), entry.unhealthy_interval);
        let ended = self.tasks.spawn(async move {
            if let Some(before) = before {
                // However it ended, it is over.
                let _ = before.await;
            }
            let config = match config {
                Ok(config) => config,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(runner = name, error, "cannot start this runner");
                    return;
                }
            };
            while !stop.is_cancelled() {
                let run = async {
                    let runner = Runner::new(config.clone()).map_err(anyhow::Error::from)?;
                    tracing::info!(runner = name, url = config.url, "asks for jobs");
                    let ended = runner.run(stop.clone(), abort.clone()).await;
                    ended.map_err(anyhow::Error::from)
                };
                let Err(error) = run.await else {
                    return;
                };
                let text = format!("{error:#}");
                let Some(RunnerError::Refused(_)) = error.downcast_ref() else {
                    tracing::error!(runner = name, error = text, "this runner stopped");
                    return;
                };
                tracing::error!(
                    runner = name,
                    error = text,
                    pause_secs = pause.as_secs(),
                    "the server refuses this runner; asking again after a pause"
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                    () = abort.cancelled() => {}
                }
            }
        });
        Working {
            entry,
            drain,
            ended,
        }
    }

    /// Follows the file until told to stop, and then waits for the jobs that run. A second signal gives them up.
    async fn work(&mut self) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        loop {
            let event = tokio::select! {
                event = signals.next() => event,
                () = tokio::time::sleep(LOOK) => Event::Look,
            };
            match event {
                Event::Stop => break,
                Event::Reload => self.reload(),
                Event::Look => {
                    if changed_at(&self.path) != self.read_at {
                        self.reload();
                    }
                    self.renew_tokens().await;
                }
            }
        }
        tracing::info!("taking no more jobs; a second signal gives up those that run");
        for working in self.working.values() {
            working.drain.cancel();
        }
        let working = std::mem::take(&mut self.working).into_values();
        let all: Vec<JoinHandle<()>> = working
            .map(|it| it.ended)
            .chain(std::mem::take(&mut self.leaving))
            .collect();
        let ended = async {
            for it in all {
                // A runner that panicked has ended too.
                let _ = it.await;
            }
        };
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => return Ok(()),
                event = signals.next() => if matches!(event, Event::Stop) {
                    self.abort.cancel();
                },
            }
        }
    }

    fn reload(&mut self) {
        self.read_at = changed_at(&self.path);
        self.leaving.retain(|it| !it.is_finished());
        match commands::load(&self.path) {
            Ok((_, parsed)) => {
                tracing::info!(
                    runners = parsed.file.entries.len(),
                    "read the configuration again"
                );
                self.follow(parsed);
            }
            Err(error) => {
                self.metrics.configuration_loaded(false);
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "the configuration cannot be read; going on with the old one"
                );
            }
        }
    }

    /// Gets new tokens for runners whose tokens have little of their time left.
    async fn renew_tokens(&mut self) {
        let now = SystemClock.now();
        let old = |it: &&Working| {
            let entry = &it.entry;
            let (Some(from), Some(until)) = (entry.token_obtained_at, entry.token_expires_at)
            else {
                return false;
            };
            now < until && now.since(from) >= until.since(from) / 4 * 3
        };
        let due: Vec<Entry> = self
            .working
            .values()
            .filter(old)
            .map(|it| it.entry.clone())
            .collect();
        for entry in due {
            if let Err(error) = self.renew(&entry).await {
                let error = format!("{error:#}");
                tracing::warn!(
                    runner = entry.name,
                    error,
                    "cannot renew the token; trying again"
                );
            }
        }
    }

    async fn renew(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let (text, Parsed { file, .. }) = commands::load(&self.path)?;
        let index = file.entries.iter().position(|it| it.key() == entry.key());
        let index = index.context("the runner left the configuration")?;
        let config = super::config_of(entry, &super::directory_of(&self.path), &file)?;
        let account = Registrar::new(&config)?.reset_token().await?;
        let expires = account.token_expires_at.as_deref();
        let text = edit::with_token(&text, index, &account.token, SystemClock.now(), expires)
            .context("cannot find the token in the file")?;
        edit::write(&self.path, &text)?;
        self.metrics.configuration_saved();
        tracing::info!(runner = entry.name, "renewed the token");
        self.reload();
        Ok(())
    }
}

fn changed_at(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// The signals that the stock runner knows. SIGTERM lets jobs finish too: services are stopped with it.
struct Signals {
    quit: Signal,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.quit.recv() => Event::Stop,
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hangup.recv() => Event::Reload,
        }
    }
}
