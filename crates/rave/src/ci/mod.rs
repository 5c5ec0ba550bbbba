//! `rave ci`: the pipeline of a working tree, on the machine of its author and without a server.
//!
//! Everything here is synchronous. Only a file of another server needs more, and starts it when it is asked for.

mod arguments;
mod env_file;
mod git;
mod lint;
mod list;
mod occasion;
mod remote;
mod session;
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
    /// List the jobs that an event gets
    #[command(after_help = "Examples:
  rave ci list
  rave ci list --event mr --target main
  rave ci list --event schedule --variable NIGHTLY=yes --json")]
    List(PlanArgs),
}

/// Runs a command.
pub(crate) fn run(command: &CiCommand) -> anyhow::Result<ExitCode> {
    match command {
        CiCommand::Lint(args) => lint::run(args),
        CiCommand::List(args) => list::run(args),
    }
}
