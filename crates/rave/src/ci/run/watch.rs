//! `rave ci watch`: runs again what a change of files affects.
//!
//! The watcher is the snapshot: git's own idea of which files count, which are ignored and whether a file really differs
//! from before. It looks again and again, less often where looking takes long.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rave_ci_lang::{Needed, Outcome};
use rave_core::name::ObjectId;

use super::follow::End;
use super::perform::Stage;
use super::place::Place;
use super::prepare::prepare;
use super::snapshot::{Camera, Snapshot};
use super::stop::Stop;
use super::{RunArgs, keep, open, show};
use crate::ci::Session;
use crate::failure;
use crate::terminal::{Style, say};
use crate::wiring;

/// How often the watcher looks, at most.
const INTERVAL: Duration = Duration::from_millis(300);
/// Looking takes at most this part of the time.
const SHARE: u32 = 15;

/// Runs the pipeline, and again what a change affects, until the user has enough.
pub(crate) fn watch(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.place, &args.event)?;
    let mut place = Place::of(&session.root);
    let mut directory = place.begin()?;
    let scratch = directory.path().join("snapshot");
    let camera = Arc::new(Camera::new(&session.root, session.git.is_some(), &scratch)?);
    let ended = wiring::runtime()?.block_on(async {
        let mut stop = Stop::by_key()?;
        let mut stage = tokio::select! {
            stage = open(args, &session, &place, &directory) => stage?,
            () = stop.wait() => return Ok(()),
        };
        if go_on(args, &mut stage, &camera, &mut stop).await? != End::Dropped {
            stage.close().await;
        }
        Ok(())
    });
    keep(args, &mut directory);
    ended.map(|()| ExitCode::SUCCESS)
}

/// Runs again and again. Returns how the last run ended.
async fn go_on(
    args: &RunArgs,
    stage: &mut Stage<'_>,
    camera: &Arc<Camera>,
    stop: &mut Stop,
) -> anyhow::Result<End> {
    let style = Style::stderr();
    // The files of the last run that was not cut off: what has changed since then has not been tried.
    let mut tried: Option<ObjectId> = None;
    loop {
        let snapshot = camera.take()?;
        let changed = match &tried {
            Some(before) => Some(camera.changed(before, &snapshot.tree)?),
            None => None,
        };
        let outdated = next_change(camera, &snapshot.tree);
        let end = match once(args, stage, &snapshot, changed, stop, outdated).await {
            Ok(Some(end)) => end,
            Ok(None) => End::Over,
            // The next change may mend it.
            Err(error) => {
                failure::report(&error);
                End::Over
            }
        };
        if matches!(end, End::Stopped | End::Dropped) {
            return Ok(end);
        }
        if end == End::Over {
            tried = Some(snapshot.tree.clone());
            say(&style.dim("Waiting for changes; q or Ctrl-C ends"));
        }
        tokio::select! {
            () = next_change(camera, &snapshot.tree) => {}
            () = stop.wait() => return Ok(end),
        }
    }
}

/// Runs what these changes affect. `None`: nothing.
async fn once(
    args: &RunArgs,
    stage: &mut Stage<'_>,
    snapshot: &Snapshot,
    changed: Option<Vec<String>>,
    stop: &mut Stop,
    outdated: impl Future<Output = ()>,
) -> anyhow::Result<Option<End>> {
    let started = Instant::now();
    let mut wanted = args.clone();
    if let Some(changed) = &changed {
        let Some(jobs) = affected(args, changed)? else {
            return Ok(None);
        };
        wanted.jobs = jobs;
        wanted.stages.clear();
    }
    // Conditions on changes have been decided; what remains is the pipeline in which they all hold.
    wanted.event.changes = changed
        .is_none()
        .then(|| args.event.changes.clone())
        .flatten();
    let mut session = Session::open(&wanted.place, &wanted.event)?;
    if changed.is_some() {
        session.tree.assume_changed();
    }
    let needed = if changed.is_some() {
        Some(Needed::Artifacts)
    } else {
        None
    };
    let Some(prepared) = prepare(&wanted, needed, &mut session, snapshot)? else {
        return Ok(None);
    };
    if changed.is_none() {
        prepared.say_unused();
    }
    let performed = stage
        .perform(snapshot, prepared, stop, started, outdated)
        .await?;
    Ok(Some(performed.0))
}

/// Returns the names of the jobs that a change affects, of those that are watched, and says why. `None`: there are none.
fn affected(args: &RunArgs, changed: &[String]) -> anyhow::Result<Option<Vec<String>>> {
    let style = Style::stderr();
    say(&format!("\n{} changed", style.bold(&show::list(changed))));
    let watched = super::prepare::selection(args, None);
    let names = |paths: &[String]| -> anyhow::Result<Option<BTreeSet<String>>> {
        let mut event = args.event.clone();
        event.changes = Some(paths.to_vec());
        let session = Session::open(&args.place, &event)?;
        Ok(match session.compile() {
            Ok(compiled) => match compiled.outcome {
                Outcome::Pipeline(plan) => Some(plan.known(&watched).into_iter().collect()),
                _ => Some(BTreeSet::new()),
            },
            // A job that is left needs one that is not.
            Err(_) => None,
        })
    };
    let Some(now) = names(changed)? else {
        say(
            "  all jobs: which of them it affects cannot be told, since some need others that it does not affect",
        );
        return Ok(Some(args.jobs.clone()));
    };
    let always = names(&[])?.unwrap_or_default();
    for name in &now {
        let why = if always.contains(name) {
            "whatever changes"
        } else {
            "its rules name the change"
        };
        say(&format!("  {name} {}", style.dim(&format!("({why})"))));
    }
    if now.is_empty() {
        say("  no job is affected");
    }
    Ok((!now.is_empty()).then(|| now.into_iter().collect()))
}

/// Waits until the files differ from a tree, and have stopped changing.
async fn next_change(camera: &Arc<Camera>, known: &ObjectId) {
    let mut last = known.clone();
    let mut pause = INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        let (camera, began) = (camera.clone(), Instant::now());
        // A file that goes away while git looks is no reason to give up.
        if let Ok(Ok(now)) = tokio::task::spawn_blocking(move || camera.look()).await {
            if now != *known && now == last {
                return;
            }
            last = now;
        }
        pause = INTERVAL.max(began.elapsed() * SHARE);
    }
}
