//! `rave cache watch`: pushes what becomes valid in the local store.
//!
//! What is new is read from the store's database, by the numbers that Nix gives to valid paths; a lock that Nix takes away
//! when a path is done only says when to look. So nothing is missed while a push lasts, or when the kernel drops events.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rave_nix::StorePath;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::Client;
use super::files;
use super::local_store::LocalStore;
use super::push::{HowArgs, Source, Target};
use super::servers::Files;
use crate::failure::hinted;
use crate::terminal::say;
use crate::up::Signals;

/// A batch is pushed after this silence, and at the latest after that long.
const SILENCE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(10);
/// How often is looked without an event.
const LOOK: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// The store [default: as Nix programs choose it]
    #[arg(long, value_name = "URI", env = "NIX_REMOTE")]
    store: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

pub(super) async fn run(args: &WatchArgs, places: &Files) -> anyhow::Result<()> {
    let (client, config) = Client::open(places.find(&args.cache)?).await?;
    let local = LocalStore::open(args.store.as_deref(), files::environment)?;
    let target = Target::new(client, &config, &args.how)?;
    target.takes(&local.dir)?;
    let mut seen = last(&local)?;
    let mut events = Events::new(&local)?;
    let mut signals = Signals::new()?;
    // What a push could not take is tried with the next.
    let mut pending: Vec<StorePath> = Vec::new();
    say(&format!(
        "Watching {}; what becomes valid there goes to {}.",
        local.real.display(),
        target.client.name
    ));
    loop {
        tokio::select! {
            woken = events.quiet() => woken?,
            () = signals.wait() => return Ok(()),
        }
        {
            let database = local.database()?;
            let new = database.since(seen)?;
            seen = new.last().map_or(seen, |it| it.0);
            pending.extend(new.into_iter().map(|it| it.1).filter(is_wanted));
            pending = database.still_valid(pending)?;
        }
        if pending.is_empty() {
            continue;
        }
        let push = async {
            let infos = local.infos(&pending, true)?;
            target.push(infos, &Source::Local(local.clone())).await
        };
        let outcome = tokio::select! {
            outcome = push => outcome,
            () = signals.wait() => return Ok(()),
        };
        let done = outcome.and_then(|outcome| {
            pending.retain(|it| outcome.failed.iter().any(|failed| failed.0 == *it));
            outcome.report(&target, args.how.json)
        });
        if let Err(error) = done {
            say(&format!(
                "warning: {error:#}; it is tried again with what comes next"
            ));
        }
    }
}

fn last(local: &LocalStore) -> anyhow::Result<i64> {
    let read = || local.database()?.last();
    read().map_err(|error| {
        hinted(
            "cannot follow the store",
            "its database must be readable: run it as a user that may read it, such as root",
            Some(error),
        )
    })
}

/// Derivations and sources are of use to nobody else.
fn is_wanted(path: &StorePath) -> bool {
    !path.name().ends_with(".drv") && !path.name().ends_with("-source")
}

/// The kernel's news of the store's directory, which a thread waits for.
struct Events {
    /// At most one is kept: that there was something is all that counts.
    locks: mpsc::Receiver<()>,
}

impl Events {
    fn new(local: &LocalStore) -> anyhow::Result<Self> {
        let doing = || format!("cannot watch {}", local.real.display());
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).with_context(doing)?;
        inotify
            .add_watch(&local.real, AddWatchFlags::IN_DELETE)
            .with_context(doing)?;
        let (to, locks) = mpsc::channel(1);
        spawn_blocking(move || {
            while let Ok(events) = inotify.read_events() {
                // An event without a name says that others were lost.
                let is_lock = |name: &OsString| name.to_string_lossy().ends_with(".lock");
                let wakes = events.iter().any(|it| it.name.as_ref().is_none_or(is_lock));
                if wakes && matches!(to.try_send(()), Err(TrySendError::Closed(()))) {
                    return;
                }
            }
        });
        Ok(Self { locks })
    }

    /// Waits until paths became valid and no more followed for a while, or until it is time to look anyway.
    async fn quiet(&mut self) -> anyhow::Result<()> {
        let Ok(first) = timeout(LOOK, self.lock_removed()).await else {
            return Ok(());
        };
        first?;
        let end = Instant::now() + LONGEST;
        loop {
            tokio::select! {
                more = timeout(SILENCE, self.lock_removed()) => match more {
                    Ok(more) => more?,
                    Err(_) => return Ok(()),
                },
                () = sleep_until(end) => return Ok(()),
            }
        }
    }

    async fn lock_removed(&mut self) -> anyhow::Result<()> {
        self.locks
            .recv()
            .await
            .context("the kernel says no more of the store's directory")
    }
}
