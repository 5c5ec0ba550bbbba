//! `rave token cache`: tokens of Attic's kind for binary caches, made beside a server that may or may not be running.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use rave_cache::TokenRequest;
use rave_core::time::{Clock as _, SystemClock};

use crate::cli::ServerArgs;
use crate::config;
use crate::failure::hinted;
use crate::wiring;

/// Each right may be given for several names; `*` stands for any run of characters.
#[derive(Debug, Args)]
pub(crate) struct CacheTokenArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Whom the token is for, as lists show it
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// How long it is valid, such as `12h`, `30d` or `1y`
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    validity: i64,
    /// Caches that it may read
    #[arg(long, value_name = "PATTERN")]
    pull: Vec<String>,
    /// Caches that it may push to
    #[arg(long, value_name = "PATTERN")]
    push: Vec<String>,
    /// Caches that it may delete paths of
    #[arg(long, value_name = "PATTERN")]
    delete: Vec<String>,
    /// Caches that it may make
    #[arg(long, value_name = "PATTERN")]
    create_cache: Vec<String>,
    /// Caches that it may configure
    #[arg(long, value_name = "PATTERN")]
    configure_cache: Vec<String>,
    /// Caches whose retention period it may configure
    #[arg(long, value_name = "PATTERN")]
    configure_cache_retention: Vec<String>,
    /// Caches that it may destroy
    #[arg(long, value_name = "PATTERN")]
    destroy_cache: Vec<String>,
    /// Print what the token says instead of the token
    #[arg(long)]
    dump_claims: bool,
}

/// Reads a time with its unit.
fn seconds(text: &str) -> Result<i64, String> {
    const DAY: i64 = 24 * 3600;
    let units = [
        ("s", 1),
        ("m", 60),
        ("h", 3600),
        ("d", DAY),
        ("w", 7 * DAY),
        ("y", 365 * DAY),
    ];
    let found = units
        .iter()
        .find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length)));
    let read =
        found.and_then(|(count, length)| count.trim().parse::<i64>().ok()?.checked_mul(*length));
    read.filter(|it| *it > 0)
        .ok_or_else(|| "a time is a number with s, m, h, d, w or y, such as 30d".to_owned())
}

impl CacheTokenArgs {
    fn request(&self) -> TokenRequest {
        let rights = [
            ("r", &self.pull),
            ("w", &self.push),
            ("d", &self.delete),
            ("cc", &self.create_cache),
            ("cr", &self.configure_cache),
            ("cq", &self.configure_cache_retention),
            ("cd", &self.destroy_cache),
        ];
        let mut caches: Vec<(String, Vec<&'static str>)> = Vec::new();
        for (right, patterns) in rights {
            for pattern in patterns {
                match caches.iter_mut().find(|it| it.0 == *pattern) {
                    Some((_, held)) => held.push(right),
                    None => caches.push((pattern.clone(), vec![right])),
                }
            }
        }
        TokenRequest {
            subject: self.sub.clone(),
            valid_secs: self.validity,
            caches,
        }
    }
}

/// Makes a token and prints it.
#[expect(clippy::print_stdout, reason = "the token is the result")]
pub(crate) fn run(args: &CacheTokenArgs) -> anyhow::Result<ExitCode> {
    let request = args.request();
    if request.caches.is_empty() {
        let hint = "name caches with --pull, --push or another right, such as --pull 'ci-*'";
        return Err(hinted("the token would be good for nothing", hint, None));
    }
    if args.dump_claims {
        let claims = rave_cache::claims_of(&request, SystemClock.now());
        println!("{}", serde_json::to_string_pretty(&claims)?);
        return Ok(ExitCode::SUCCESS);
    }
    let config = config::load(args.server.config.as_deref(), &args.server.overrides())?;
    if !config.data_dir.exists() {
        let text = format!("there is no data directory {}", config.data_dir.display());
        return Err(hinted(
            text,
            "name it with --data DIR, or make one with `rave up`",
            None,
        ));
    }
    let token = wiring::runtime()?.block_on(async {
        let base = wiring::Base::open(&config).await?;
        let now = SystemClock.now();
        let token = rave_cache::make_token(&base.db, &base.dir.sealing_key()?, &request, now).await;
        base.db.close().await;
        token.context("cannot make a token for binary caches")
    })?;
    println!("{}", token.expose());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(seconds(text).ok(), expected, "{text}");
        check("90s", Some(90));
        check("30d", Some(2_592_000));
        check("1y", Some(31_536_000));
        for wrong in [
            "",
            "1",
            "d",
            "-1d",
            "0h",
            "99999999999999999y",
            "1 fortnight",
        ] {
            check(wrong, None);
        }
    }
}
