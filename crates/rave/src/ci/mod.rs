//! `rave ci`: the pipeline of a working tree, on the machine of its author and without a server.
//!
//! Everything here is synchronous. Only a file of another server needs more, and starts it when it is asked for.

mod arguments;
mod env_file;
mod explain;
mod git;
mod graph;
mod lint;
mod list;
mod occasion;
mod plan;
mod plan_cache;
mod remote;
mod run;
mod session;
mod show;
mod tree;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use self::arguments::PlanArgs;
pub(crate) use self::session::Session;

/// The file is at fault.
pub(crate) const AT_FAULT: u8 = 1;

#[derive(Debug, Subcommand)]
pub(crate) enum CiCommand {
    /// Say what is wrong with the file, and where
    #[command(
        after_help = "Ends with 0 when there is nothing wrong, 1 when there is, 2 when the command was wrong.

Examples:
  rave ci lint
  rave ci lint --file ci/release.yml --event tag
  rave ci lint --json"
    )]
    Lint(PlanArgs),
    /// Print the file with everything merged into it
    #[command(after_help = "Includes, parents, references and aliases are filled in.

Examples:
  rave ci show
  rave ci show --offline --project team/templates=../templates")]
    Show(PlanArgs),
    /// Say why a job is in the pipeline or is not, and where its keys and variables come from
    #[command(after_help = "Values of secret variables are not shown.

Examples:
  rave ci explain                every job of the file, and whether the event gets it
  rave ci explain test
  rave ci explain deploy --event tag --ref v1.2
  rave ci explain 'build: [linux]' --changes src/main.rs --json")]
    Explain(explain::ExplainArgs),
    /// List the jobs that an event gets
    #[command(after_help = "Examples:
  rave ci list
  rave ci list --event mr --target main
  rave ci list --event schedule --variable NIGHTLY=yes --json")]
    List(PlanArgs),
    /// Run the pipeline, or some of its jobs, on this machine
    #[command(
        mut_arg("no_cache", |it| it.help("Run without the caches that earlier runs left")),
        after_help = "Jobs get the working tree as it is, without what git ignores, and nothing that they do changes it. Caches stay
for the next run; artifacts and logs of the last one are kept in the cache directory, or where --artifacts says.
Ends with 0 when the pipeline passed or waits for manual jobs, 1 when it failed, 2 when the command was wrong.

Examples:
  rave ci run                          the whole pipeline
  rave ci run test                     one job, with its output
  rave ci run deploy --needs           a job and what it needs
  rave ci run --manual deploy          also start a manual job
  rave ci run --event mr --target main --variable DEBUG=1
  rave ci run --artifacts out --log"
    )]
    Run(Box<run::RunArgs>),
    /// Run the pipeline, and again what a change of files affects
    #[command(
        mut_arg("no_cache", |it| it.help("Run without the caches that earlier runs left")),
        after_help = "The first run is the whole pipeline, or the jobs that are named. A change then runs those jobs again whose
`rules:changes` name it and those without such a condition, and with them the jobs whose artifacts they get. A change
while jobs run stops them and begins again. q or Ctrl-C ends.

Examples:
  rave ci watch
  rave ci watch test lint --log"
    )]
    Watch(Box<run::RunArgs>),
    /// Draw stages, and what each job waits for
    #[command(after_help = "Examples:
  rave ci graph
  rave ci graph --event mr --mermaid > pipeline.mmd
  rave ci graph --json")]
    Graph(graph::GraphArgs),
    /// Plan the pipeline of an event, or compare it with that of another commit
    #[command(after_help = "Examples:
  rave ci plan
  rave ci plan --event mr --source topic --target main
  rave ci plan --event push --ref main --changes docs/index.md --changes src/lib.rs
  rave ci plan --diff main       what the working tree adds and drops, for the same event
  rave ci plan --json            everything that a server would store")]
    Plan(plan::PlanCommandArgs),
}

/// Runs a command.
pub(crate) fn run(command: &CiCommand) -> anyhow::Result<ExitCode> {
    match command {
        CiCommand::Lint(args) => lint::run(args),
        CiCommand::Show(args) => show::run(args),
        CiCommand::Explain(args) => explain::run(args),
        CiCommand::List(args) => list::run(args),
        CiCommand::Run(args) => run::run(args),
        CiCommand::Watch(args) => run::watch(args),
        CiCommand::Graph(args) => graph::run(args),
        CiCommand::Plan(args) => plan::run(args),
    }
}
