//! `rave cache`: a client of Nix binary caches, on a RAVE server or any that speaks the Attic API.

mod client;
mod fetch;
mod files;
mod inventory;
mod local_store;
mod manage;
mod nix_conf;
mod progress;
mod pull;
mod push;
mod schedule;
mod servers;
mod transfer;
mod use_cache;
mod watch;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::wiring;
use servers::Files;

/// `rave cache`.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// File with the logins [default: ~/.config/rave/cache.toml, then attic's own]
    #[arg(long, global = true, value_name = "FILE", env = "RAVE_CACHE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Remember a server and its token
    #[command(after_help = "Examples:
  rave cache login work https://rave.example.org/-/cache < token     standard input, with --token-stdin
  rave cache login work https://rave.example.org/-/cache --token-file ~/.secrets/cache
  rave cache login theirs https://attic.example.org eyJ...")]
    Login(manage::LoginArgs),
    /// Make a cache
    #[command(after_help = "Examples:
  rave cache create main
  rave cache create work:oss --public --priority 39")]
    Create(manage::CreateArgs),
    /// Change what a cache is
    #[command(after_help = "Examples:
  rave cache configure main --public
  rave cache configure main --retention-period '30 days'
  rave cache configure main --regenerate-keypair")]
    Configure(manage::ConfigureArgs),
    /// Remove a cache and everything in it
    #[command(after_help = "Examples:
  rave cache destroy old
  rave cache destroy work:old --yes")]
    Destroy(manage::DestroyArgs),
    /// Say what a cache is
    #[command(after_help = "Examples:
  rave cache info main
  rave cache info https://rave.example.org/-/cache/main --json")]
    Info(manage::InfoArgs),
    /// Let Nix on this machine fetch from a cache
    #[command(
        after_help = "Adds the cache and its key to nix.conf and, if there is a token, the password to netrc; the rest of both stays as it is.

Examples:
  rave cache use main
  rave cache use main --dry-run
  sudo rave cache use main --nix-conf /etc/nix/nix.conf"
    )]
    Use(use_cache::UseArgs),
    /// Upload store paths and what they refer to
    #[command(
        after_help = "What the cache has is not sent, so after an interruption the same command goes on where it was. A path is sent after
what it refers to: the cache never has a path without its references.

Examples:
  rave cache push main ./result
  nix-build | rave cache push main --stdin
  rave cache push main /nix/store/...-hello --no-closure -j 8"
    )]
    Push(push::PushArgs),
    /// Download store paths, into the store or unpacked into a directory
    #[command(after_help = "Examples:
  rave cache pull main /nix/store/...-hello           by `nix copy`, with everything it refers to
  rave cache pull main /nix/store/...-hello --to out  unpacked, checked against the cache's key, without Nix")]
    Pull(pull::PullArgs),
    /// Push what becomes valid in the store, until stopped
    #[command(after_help = "Examples:
  rave cache watch main
  rave cache watch work:main -j 8")]
    Watch(watch::WatchArgs),
    /// Copy paths from one cache to another, without a store
    #[command(
        after_help = "Hashes are checked on the way, and signatures where the key is known.

Examples:
  rave cache copy staging release /nix/store/...-app
  rave cache copy https://cache.nixos.org main /nix/store/...-hello --trusted-public-key cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
    )]
    Copy(pull::CopyArgs),
    /// Download paths and check their hashes and signatures
    #[command(after_help = "Exits with 1 if something is missing or wrong.

Examples:
  rave cache verify main ./result
  rave cache verify main                        everything, where the server is RAVE
  rave cache verify main /nix/store/...-app --no-closure --json")]
    Verify(pull::VerifyArgs),
    /// Have a cache that fetches from others fetch paths before they are needed
    #[command(after_help = "Examples:
  rave cache warm main /nix/store/...-app
  rave cache warm main --flake .#app     what the package would be built as, on this machine's system")]
    Warm(pull::WarmArgs),
    /// List what is in a cache, or the caches of a server
    #[command(after_help = "This and what follows needs a RAVE server.

Examples:
  rave cache ls                        the caches of the default server
  rave cache ls main --search firefox
  rave cache ls main --order unused -n 0 --json")]
    Ls(inventory::ListArgs),
    /// Remove paths from a cache
    #[command(after_help = "Examples:
  rave cache rm main /nix/store/...-pushed-by-mistake")]
    Rm(inventory::RemoveArgs),
    /// Keep a path and what it refers to, whatever retention says
    #[command(after_help = "Examples:
  rave cache pin main release-1.0 ./result
  rave cache pin main nightly /nix/store/...-app --for '30 days'")]
    Pin(inventory::PinArgs),
    /// Take a pin away
    #[command(after_help = "Examples:
  rave cache unpin main nightly")]
    Unpin(inventory::UnpinArgs),
    /// List the pins of a cache
    #[command(after_help = "Examples:
  rave cache pins main")]
    Pins(inventory::OneArgs),
    /// Let go of what retention and quota let go
    #[command(after_help = "Examples:
  rave cache gc main --dry-run         say what would go, and why
  rave cache gc main")]
    Gc(inventory::CollectArgs),
    /// Say how a cache is used
    #[command(after_help = "Examples:
  rave cache stats main")]
    Stats(inventory::OneArgs),
}

/// Runs a command of `rave cache`.
pub(crate) fn run(args: &CacheArgs) -> anyhow::Result<ExitCode> {
    let files = Files::from_environment(args.config.clone())?;
    let runtime = wiring::runtime()?;
    let done = runtime.block_on(async {
        match &args.command {
            CacheCommand::Login(args) => manage::login(args, &files),
            CacheCommand::Create(args) => manage::create(args, &files).await,
            CacheCommand::Configure(args) => manage::configure(args, &files).await,
            CacheCommand::Destroy(args) => manage::destroy(args, &files).await,
            CacheCommand::Info(args) => manage::info(args, &files).await,
            CacheCommand::Use(args) => use_cache::run(args, &files).await,
            CacheCommand::Push(args) => Box::pin(push::run(args, &files)).await,
            CacheCommand::Pull(args) => Box::pin(pull::pull(args, &files)).await,
            CacheCommand::Watch(args) => Box::pin(watch::run(args, &files)).await,
            CacheCommand::Copy(args) => Box::pin(pull::copy(args, &files)).await,
            CacheCommand::Verify(args) => Box::pin(pull::verify(args, &files)).await,
            CacheCommand::Ls(args) => inventory::list(args, &files).await,
            CacheCommand::Rm(args) => inventory::remove(args, &files).await,
            CacheCommand::Pin(args) => inventory::pin(args, &files).await,
            CacheCommand::Unpin(args) => inventory::unpin(args, &files).await,
            CacheCommand::Pins(args) => inventory::pins(args, &files).await,
            CacheCommand::Gc(args) => inventory::collect(args, &files).await,
            CacheCommand::Stats(args) => inventory::statistics(args, &files).await,
            CacheCommand::Warm(args) => Box::pin(pull::warm(args, &files)).await,
        }
    });
    // A download that was given up may still sit in a thread.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}
