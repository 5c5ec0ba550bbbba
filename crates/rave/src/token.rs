//! `rave token`: tokens for scripts, made beside a server that may or may not be running.

use std::process::ExitCode;

use clap::Args;
use rave_core::permission::Scope;
use rave_core::time::{Clock as _, SystemClock};

use crate::cli::ServerArgs;
use crate::config;
use crate::failure::hinted;
use crate::wiring;

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The user whose token it is
    #[arg(long, value_name = "NAME")]
    user: String,
    /// What the token may be used for, separated by commas
    #[arg(long, value_name = "SCOPES", default_value = "api,write_repository", value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Scope>,
    /// The name under which lists show it
    #[arg(long, default_value = "made on the command line")]
    name: String,
    /// After how many days the token expires
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(i64).range(1..=3650))]
    expires_in_days: i64,
}

fn scope(label: &str) -> Result<Scope, String> {
    let known = || {
        Scope::ALL
            .iter()
            .map(|it| it.label())
            .collect::<Vec<_>>()
            .join(", ")
    };
    Scope::from_label(label.trim()).ok_or_else(|| format!("the scopes are {}", known()))
}

/// Makes a token and prints it.
#[expect(clippy::print_stdout, reason = "the token is the result")]
pub(crate) fn create(args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(args.server.config.as_deref(), &args.server.overrides())?;
    if !config.data_dir.exists() {
        let text = format!("there is no data directory {}", config.data_dir.display());
        return Err(hinted(
            text,
            "name it with --data DIR, or make one with `rave up`",
            None,
        ));
    }
    let expires_at = SystemClock
        .now()
        .plus_millis(args.expires_in_days * 24 * 3_600_000);
    let token = wiring::runtime()?.block_on(async {
        let base = wiring::Base::open(&config).await?;
        let token = base
            .auth
            .issue_token(&args.user, &args.name, &args.scopes, Some(expires_at))
            .await;
        base.db.close().await;
        token.map_err(|error| {
            let hint = "name an existing user with --user; the first administrator is root";
            hinted(
                format!("cannot make a token for {}", args.user),
                hint,
                Some(error.into()),
            )
        })
    })?;
    println!("{}", token.expose());
    Ok(ExitCode::SUCCESS)
}
