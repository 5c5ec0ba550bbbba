//! The runner: embedded in the server, or alone by `rave runner`, from the command line or a configuration file.

mod alone;
mod commands;
mod doctor;
mod edit;
mod embedded;
mod file;
mod metrics_page;
mod process;
mod settings;
mod table;
mod tls;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rave_runner::{Runner, RunnerConfig};

use crate::failure::hinted;
pub(crate) use embedded::Embedded;
pub(crate) use settings::local_settings;
use settings::{bare_config, config_of, directory_of};

/// `rave runner`: a command about the configuration file, or one runner without a file.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RunnerArgs {
    #[command(subcommand)]
    command: Option<RunnerCommand>,
    #[command(flatten)]
    alone: alone::AloneArgs,
}

#[derive(Debug, Subcommand)]
enum RunnerCommand {
    /// Add a runner of a server to the configuration file
    #[command(
        after_help = "The token is the one that the server shows when a runner is made: on its Runners pages, or by POST /api/v4/user/runners.

Examples:
  rave runner register --url https://rave.example.org --token glrt-...
  rave runner register --url https://gitlab.com --token glrt-... --name laptop --executor shell
  rave runner register --url https://rave.corp --token glrt-... --tls-ca-file /etc/ssl/corp.pem
  rave runner register --url https://old.example.org --registration-token GR1348941... --tag-list nix,linux"
    )]
    Register(Box<commands::RegisterArgs>),
    /// Run jobs for all runners of the configuration file
    #[command(
        after_help = "The file has gitlab-runner's own keys; what of it is not carried out is said once, with its line. Changes are taken up
within seconds, or at once on SIGHUP. SIGQUIT, SIGTERM and SIGINT let running jobs finish; a second one gives them up.

Examples:
  rave runner run
  rave runner run --config /etc/gitlab-runner/config.toml
  rave runner run --listen-address 127.0.0.1:9252    serve metrics under gitlab-runner's names"
    )]
    Run(process::RunArgs),
    /// Ask the servers whether they know the runners of the configuration file
    #[command(
        after_help = "Exits with 1 if one of them is not known or does not answer.

Examples:
  rave runner verify
  rave runner verify --name laptop
  rave runner verify --delete        forget those that their servers do not know any more"
    )]
    Verify(commands::VerifyArgs),
    /// Print the runners of the configuration file
    #[command(after_help = "Examples:
  rave runner list
  rave runner list --json --config /etc/gitlab-runner/config.toml")]
    List(commands::ListArgs),
    /// Take a runner off its server and out of the configuration file
    #[command(
        after_help = "A runner that was made on the server stays there for its other machines; one that registered itself goes altogether.

Examples:
  rave runner unregister --name laptop
  rave runner unregister --all-runners"
    )]
    Unregister(commands::UnregisterArgs),
    /// Say what of this machine serves to run jobs, and what to do about the rest
    #[command(
        after_help = "Tries each executor and changes nothing. Exits with 1 if the one asked for does not work.

Examples:
  rave runner doctor
  rave runner doctor --executor container --container-host unix:///run/podman/podman.sock
  rave runner doctor --json"
    )]
    Doctor(doctor::DoctorArgs),
}

/// Does what the arguments say.
pub(crate) fn run(args: RunnerArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(RunnerCommand::Register(args)) => commands::register(&args),
        Some(RunnerCommand::Run(args)) => process::run(&args),
        Some(RunnerCommand::Verify(args)) => commands::verify(&args),
        Some(RunnerCommand::List(args)) => commands::list(&args),
        Some(RunnerCommand::Unregister(args)) => commands::unregister(&args),
        Some(RunnerCommand::Doctor(args)) => doctor::run(&args),
        None => alone::run(args.alone),
    }
}

fn make(config: RunnerConfig) -> anyhow::Result<Runner> {
    install_tls();
    Runner::new(config).map_err(|error| {
        let hint = "if this machine does not allow namespaces, executor = \"shell\" runs jobs as plain processes of this user: choose it only for people you trust with this user's account";
        hinted("cannot start the runner", hint, Some(error.into()))
    })
}

/// Chooses the implementation of cryptography for TLS, once per process.
pub(crate) fn install_tls() {
    // A second call finds the first one's choice, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "runner".to_owned(), |it| it.trim().to_owned())
}
