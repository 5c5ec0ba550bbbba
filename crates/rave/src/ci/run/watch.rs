//! `rave ci watch`: runs again what a change of files affects.
//!
//! The watcher is the snapshot: git's own idea of which files count, which are ignored and whether a file really differs
//! from before. It looks again and again, less often where looking takes long.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rave_ci_lang::{Diagnostics, JobPlan, Outcome};
use rave_core::name::ObjectId;

use super::follow::End;
use super::perform::Stage;
use super::place::Place;
use super::prepare::{Again, prepare};
use super::snapshot::{Camera, Snapshot};
use super::stop::Stop;
use super::{RunArgs, keep, open, show};
use crate::ci::Session;
use crate::ci::tree::Changes;
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
    let mut known: Option<Vec<JobPlan>> = None;
    loop {
        let snapshot = camera.take()?;
        let changed = match &tried {
            Some(before) => Some(camera.changed(before, &snapshot.tree)?),
            None => None,
        };
        let outdated = next_change(camera, &snapshot.tree);
        let end = match once(args, stage, &snapshot, changed, &mut known, stop, outdated).await {
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

/// Runs what these changes affect. `known` are the jobs as they were the last time. `None`: nothing.
async fn once(
    args: &RunArgs,
    stage: &mut Stage<'_>,
    snapshot: &Snapshot,
    changed: Option<Vec<String>>,
    known: &mut Option<Vec<JobPlan>>,
    stop: &mut Stop,
    outdated: impl Future<Output = ()>,
) -> anyhow::Result<Option<End>> {
    let started = Instant::now();
    let mut session = Session::open(&args.place, &args.event)?;
    let everything = jobs_if(args, Changes::Unknown)?.map_err(|it| session.invalid(&it))?;
    let before = known.replace(everything.clone());
    let again = match changed {
        Some(changed) => {
            let again = affected(args, changed, &before.unwrap_or_default(), &everything)?;
            if again.names.is_empty() {
                return Ok(None);
            }
            // Conditions on changes have been decided; what remains is the pipeline in which they all hold.
            session.tree = session.tree.with_changes(Changes::Unknown);
            Some(again)
        }
        None => None,
    };
    let Some(prepared) = prepare(args, again.as_ref(), &mut session, snapshot)? else {
        return Ok(None);
    };
    if again.is_none() {
        prepared.say_unused(args.how.executor);
    }
    let performed = stage
        .perform(snapshot, prepared, stop, started, outdated)
        .await?;
    Ok(Some(performed.0))
}

/// Returns the jobs that there are if this is what changed.
fn jobs_if(args: &RunArgs, changes: Changes) -> anyhow::Result<Result<Vec<JobPlan>, Diagnostics>> {
    let mut session = Session::open(&args.place, &args.event)?;
    session.tree = session.tree.with_changes(changes);
    Ok(session.compile().map(|compiled| match compiled.outcome {
        Outcome::Pipeline(plan) => {
            let watched = plan.known(&super::prepare::selection(args));
            let jobs = plan.jobs.into_iter();
            jobs.filter(|it| watched.contains(&it.name)).collect()
        }
        _ => Vec::new(),
    }))
}

/// Returns the jobs that a change affects, of those that are watched, and says why: they are in a pipeline of this change,
/// or the file says something else of them than `before`. `now` are all there may be.
fn affected(
    args: &RunArgs,
    changed: Vec<String>,
    before: &[JobPlan],
    now: &[JobPlan],
) -> anyhow::Result<Again> {
    let style = Style::stderr();
    say(&format!("\n{} changed", style.bold(&show::list(&changed))));
    let Ok(jobs) = jobs_if(args, Changes::Given(changed.clone()))? else {
        // A job that is left needs one that is not.
        say(
            "  all jobs: which of them it affects cannot be told, since some need others that it does not affect",
        );
        return Ok(Again {
            changed,
            names: now.iter().map(|it| it.name.clone()).collect(),
            jobs: Vec::new(),
        });
    };
    let always = jobs_if(args, Changes::Given(Vec::new()))?.unwrap_or_default();
    let is_in = |list: &[JobPlan], name: &str| list.iter().any(|it| it.name == name);
    let mut names = Vec::new();
    for job in now {
        let why = if before.iter().all(|it| it != job) {
            "what the file says of it has changed"
        } else if is_in(&always, &job.name) {
            "whatever changes"
        } else if is_in(&jobs, &job.name) {
            "its rules name the change"
        } else {
            continue;
        };
        say(&format!(
            "  {} {}",
            job.name,
            style.dim(&format!("({why})"))
        ));
        names.push(job.name.clone());
    }
    if names.is_empty() {
        say("  no job is affected");
    }
    Ok(Again {
        changed,
        names,
        jobs,
    })
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
