//! `rave ci run`: the pipeline of the working tree, carried out here by the parts that a server and a runner consist of.

mod follow;
mod instance;
mod leave;
mod perform;
mod place;
mod prepare;
mod report;
mod show;
mod snapshot;
mod stop;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use rave_ci_lang::parse_duration;
use tokio::sync::mpsc;

use self::follow::End;
use self::instance::{Instance, Wanted};
use self::perform::Stage;
use self::place::{Place, RunDirectory};
use self::prepare::prepare;
use self::snapshot::Camera;
use self::stop::Stop;
use super::arguments::{EventArgs, PlaceArgs};
use super::{AT_FAULT, Session};
use crate::config::Executor;
use crate::terminal::say;
use crate::wiring;

pub(crate) use self::watch::watch;

/// The exit status of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Jobs to run, and no others; manual ones are started [default: the whole pipeline]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Run the jobs of a stage; may be given several times
    #[arg(long = "stage", value_name = "STAGE")]
    stages: Vec<String>,
    /// Run what the jobs need, too
    #[arg(long, short)]
    needs: bool,
    /// Start a manual job when its turn comes; may be given several times
    #[arg(long = "manual", value_name = "JOB")]
    manual: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    event: EventArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// How jobs run and what is shown of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct HowArgs {
    /// How jobs are kept from this machine [default: sandbox, where it works]
    #[arg(long, value_enum)]
    executor: Option<Executor>,
    /// A directory that jobs in the sandbox may read besides the system's own; may be given several times
    #[arg(long, value_name = "DIR")]
    read_only_path: Vec<PathBuf>,
    /// How many jobs run at once [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: Option<u16>,
    /// How long a job may run that does not say so itself, such as `10m` [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = secs)]
    timeout: Option<u64>,
    /// Print what the jobs print instead of a table
    #[arg(long)]
    log: bool,
    /// Show whole logs: also what happens around the script, and of failed jobs more than the end
    #[arg(long)]
    full_log: bool,
    /// Leave the jobs' artifacts in this directory, each job's below its name
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Keep the run's directory with its working copies
    #[arg(long)]
    keep: bool,
    /// Print events and a summary as JSON, one object per line
    #[arg(long)]
    json: bool,
}

fn secs(text: &str) -> Result<u64, String> {
    let secs = parse_duration(text).ok().flatten().map(|it| it.as_secs());
    let refused = || format!("`{text}` is no duration: write it as `90s` or `1h 30m`");
    secs.filter(|it| *it > 0).ok_or_else(refused)
}

/// Runs the pipeline, or a part of it, once.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut session = Session::open(&args.place, &args.event)?;
    let mut place = Place::of(&session.root);
    let mut directory = place.begin()?;
    let camera = Camera::new(
        &session.root,
        session.git.is_some(),
        &directory.path().join("snapshot"),
    )?;
    let snapshot = camera.take()?;
    let Some(prepared) = prepare(args, None, &mut session, &snapshot)? else {
        return Ok(ExitCode::SUCCESS);
    };
    prepared.say_unused(args.how.executor);
    let ended = wiring::runtime()?.block_on(async {
        let mut stop = Stop::by_signal()?;
        let opened = open(args, &session, &place, &directory);
        let mut stage = tokio::select! {
            stage = opened => stage?,
            () = stop.wait() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        let never = std::future::pending();
        let performed = stage.perform(&snapshot, prepared, &mut stop, started, never);
        let (end, passed) = performed.await?;
        if end == End::Dropped {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        stage.close().await;
        Ok(ExitCode::from(match (end, passed) {
            (End::Over, true) => 0,
            (End::Over, false) => AT_FAULT,
            _ => INTERRUPTED,
        }))
    });
    keep(args, &mut directory);
    ended
}

fn keep(args: &RunArgs, directory: &mut RunDirectory) {
    if args.how.keep {
        say(&format!(
            "The run's directory is {}",
            directory.path().display()
        ));
        directory.keep();
    }
}

/// Starts a server for the runs of a project.
async fn open<'a>(
    args: &'a RunArgs,
    session: &Session,
    place: &'a Place,
    directory: &RunDirectory,
) -> anyhow::Result<Stage<'a>> {
    let context = &session.occasion.context;
    let branch = context
        .predefined
        .iter()
        .find(|it| it.key == "CI_DEFAULT_BRANCH");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, notices) = mpsc::channel(4);
    let wanted = Wanted {
        directory: directory.path(),
        caches: place.caches(),
        images: place.images(),
        project_path: &context.project_path,
        default_branch: branch.map_or("main", |it| it.value.as_str()),
        executor: args.how.executor,
        read_only_paths: args.how.read_only_path.clone(),
        concurrency: args.how.concurrency.map_or(processors, usize::from),
        timeout_secs: args.how.timeout,
        notices: sender,
    };
    let (instance, runner) = Instance::start(&wanted).await?;
    Ok(Stage {
        how: &args.how,
        place,
        instance,
        runner,
        notices,
    })
}
