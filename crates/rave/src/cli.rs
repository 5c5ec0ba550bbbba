//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Overrides;
use crate::{blob, cache, cache_token, ci, demo, failure, memory, runner, token, up, wiring};

/// A software-delivery platform in one binary: git forge, CI with GitLab's language and API, and a runner.
#[derive(Debug, Parser)]
#[command(
    name = "rave",
    version,
    max_term_width = 100,
    after_help = "Examples:
  rave up                              start a server in ./rave-data on http://127.0.0.1:8080
  rave demo                            watch a real project being pushed, built and tested
  rave token create --user root        make an access token for scripts
  rave runner --url URL --token TOKEN  run jobs of a server on this machine
  rave cache push main ./result        upload store paths to a Nix binary cache
  rave ci list                         what the pipeline of this working tree consists of

`rave COMMAND --help` tells more."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    #[command(
        after_help = "The first start makes the data directory and prints a link by which you claim the administrator's account.

Examples:
  rave up
  rave up --data /var/lib/rave --listen 0.0.0.0:8080 --external-url https://rave.example.org
  rave up --config /etc/rave.toml
  rave up --admin-password-file /run/secrets/admin    set up without a browser"
    )]
    Up(UpArgs),
    /// Build, test and release a real project before your eyes
    #[command(
        after_help = "Starts a server in a fresh directory, pushes GNU hello (or, where Debian's archive is out of reach, a small
bundled project) with a pipeline, shows the pipeline live, and keeps serving so that you can look around.

Examples:
  rave demo
  rave demo --once     exit when the pipeline ends: 0 when it passed, 1 when not"
    )]
    Demo(demo::DemoArgs),
    /// Manage access tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run jobs for a RAVE or GitLab server
    #[command(
        after_help = "Make the token on the server: Runners, New runner; or POST /api/v4/user/runners.

Examples:
  rave runner register --url https://rave.example.org --token glrt-...    then: rave runner run
  rave runner --url https://rave.example.org --token glrt-...             without a file
  RAVE_RUNNER_TOKEN=glrt-... rave runner --url https://gitlab.com --executor shell --concurrency 4"
    )]
    Runner(Box<runner::RunnerArgs>),
    /// Push to and read from Nix binary caches
    #[command(
        after_help = "Works with RAVE's caches and with every server that speaks the Attic API. CACHE is a cache's NAME on the default server,
SERVER:NAME, or its URL (with a token in RAVE_CACHE_TOKEN if it needs one).

Examples:
  rave cache login work https://rave.example.org/-/cache --token-stdin < token
  rave cache create main
  rave cache push main ./result
  rave cache use main"
    )]
    Cache(Box<cache::CacheArgs>),
    /// Look after the store of artifacts, logs and caches
    #[command(
        subcommand,
        after_help = "Works whether or not the server is running.

Examples:
  rave blob stats             how much is there, and what deduplication and compression save
  rave blob verify            read everything and name what is damaged
  rave blob gc --dry-run      what nothing refers to any more"
    )]
    Blob(blob::BlobCommand),
    /// Check, explain and run a pipeline on this machine, without a server
    #[command(
        subcommand,
        after_help = "The commands read the working tree as it is, uncommitted changes included, and its `.rave-ci.env`.

Examples:
  rave ci lint                     say what is wrong with .gitlab-ci.yml, and where
  rave ci list --event mr          the jobs that a merge request gets
  rave ci explain test             why the job `test` runs or does not, and where its keys come from
  rave ci graph --mermaid          stages and needs as a diagram
  rave ci plan --diff main         what your change of the file adds and drops"
    )]
    Ci(ci::CiCommand),
    /// Print the configuration's keys with their defaults
    Config,
    #[command(hide = true, name = "__routes")]
    Routes,
    #[command(hide = true, name = "__hook")]
    Hook { name: String },
    #[command(hide = true, name = "__sandbox")]
    Sandbox {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    #[command(hide = true, name = "__vm")]
    Machine {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What commands that open a data directory have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Configuration file (see `rave config`)
    #[arg(long, value_name = "FILE", env = "RAVE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory [default: ./rave-data]
    #[arg(long, value_name = "DIR", env = "RAVE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// URL of a PostgreSQL database, instead of SQLite in the data directory
    #[arg(
        long,
        value_name = "URL",
        env = "RAVE_DATABASE_URL",
        hide_env_values = true
    )]
    pub(crate) database_url: Option<String>,
}

impl ServerArgs {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            data_dir: self.data.clone(),
            database_url: self.database_url.clone(),
            ..Overrides::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address under which people and runners reach the server
    #[arg(long, value_name = "URL", env = "RAVE_EXTERNAL_URL")]
    pub(crate) external_url: Option<String>,
    /// Log as `human` or `json`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// At the first start, give the administrator `root` the password in this file instead of printing a claim link
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a personal access token and print it
    #[command(after_help = "Works whether or not the server is running.

Examples:
  rave token create --user root
  rave token create --data /var/lib/rave --user ci --scopes api,write_repository --expires-in-days 30")]
    Create(token::CreateArgs),
    /// Make a token for binary caches, as `atticadm make-token` does, and print it
    #[command(
        after_help = "Works whether or not the server is running. A token cannot be revoked: give it a short life.

Examples:
  rave token cache --sub ci --validity 30d --pull 'ci-*' --push ci-main
  rave token cache --sub root --validity 1d --pull '*' --push '*' --create-cache '*' --configure-cache '*'"
    )]
    Cache(Box<cache_token::CacheTokenArgs>),
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    memory::return_large_pieces();
    let result = match Cli::parse().command {
        // These two are started for every push and job: they need no runtime.
        Command::Hook { name } => return rave_git::hook_main(&name),
        Command::Sandbox { .. } => return rave_runner::sandbox_main(),
        Command::Machine { .. } => return rave_runner::guest_main(),
        Command::Cache(args) => cache::run(&args),
        Command::Blob(command) => blob::run(&command),
        Command::Ci(command) => ci::run(&command),
        Command::Up(args) => up::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Token(TokenCommand::Create(args)) => token::create(&args),
        Command::Token(TokenCommand::Cache(args)) => cache_token::run(&args),
        Command::Runner(args) => runner::run(*args),
        Command::Config => print(crate::config::DEFAULTS),
        Command::Routes => wiring::routes_json().and_then(|it| print(&it)),
    };
    match result {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

#[expect(clippy::print_stdout, reason = "results go to standard output")]
fn print(text: &str) -> anyhow::Result<ExitCode> {
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
