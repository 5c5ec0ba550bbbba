//! `rave cache login|create|configure|destroy|info`: servers and the caches on them.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use rave_nix::{SecretKey, StoreDir};
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::servers::{Files, Server, check_name, endpoint};
use super::wire::{CacheConfig, CreateCache, KeyPair, Retention};
use crate::failure::hinted;
use crate::terminal::{Style, print, say};

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// What the server is called on this machine
    name: String,
    /// Its address, such as `https://rave.example.org/-/cache`
    url: String,
    /// The token (others can see it in the list of processes: standard input is better)
    token: Option<String>,
    /// Read the token from this file whenever it is needed
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Read the token from standard input
    #[arg(long, conflicts_with_all = ["token", "token_file"])]
    token_stdin: bool,
    /// Make it the server of caches that are named without one
    #[arg(long)]
    set_default: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The cache: NAME or SERVER:NAME
    cache: String,
    /// Let everyone read it
    #[arg(long)]
    public: bool,
    /// Which cache clients ask first: the lower, the earlier; cache.nixos.org has 40
    #[arg(long, default_value_t = 41)]
    priority: i32,
    /// The store whose paths it takes
    #[arg(long, value_name = "DIR", default_value = "/nix/store")]
    store_dir: String,
    /// Leave out paths that this key signed, because everyone gets them elsewhere (may be repeated)
    #[arg(
        long = "upstream-cache-key-name",
        value_name = "NAME",
        default_value = "cache.nixos.org-1"
    )]
    upstream: Vec<String>,
    /// Sign with the key in this file instead of a new one
    #[arg(long, value_name = "FILE")]
    keypair_path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigureArgs {
    /// The cache: NAME or SERVER:NAME
    cache: String,
    /// Let everyone read it
    #[arg(long, conflicts_with = "private")]
    public: bool,
    /// Let only tokens read it
    #[arg(long)]
    private: bool,
    /// Which cache clients ask first: the lower, the earlier
    #[arg(long)]
    priority: Option<i32>,
    /// The store whose paths it takes
    #[arg(long, value_name = "DIR")]
    store_dir: Option<String>,
    /// Leave out paths that this key signed (may be repeated; replaces those before)
    #[arg(long = "upstream-cache-key-name", value_name = "NAME")]
    upstream: Option<Vec<String>>,
    /// Sign with the key in this file from now on
    #[arg(long, value_name = "FILE", conflicts_with = "regenerate_keypair")]
    keypair_path: Option<PathBuf>,
    /// Sign with a new key from now on; whoever uses the cache must be told of it
    #[arg(long)]
    regenerate_keypair: bool,
    /// Let go of paths that nobody fetched for so long, such as `30 days`; 0 keeps everything
    #[arg(
        long,
        value_name = "DURATION",
        conflicts_with = "reset_retention_period"
    )]
    retention_period: Option<String>,
    /// Keep paths as long as the server's configuration says
    #[arg(long)]
    reset_retention_period: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    /// The cache: NAME or SERVER:NAME
    cache: String,
    /// Do not ask for the name again
    #[arg(long, short, visible_alias = "no-confirm")]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn login(args: &LoginArgs, files: &Files) -> anyhow::Result<()> {
    if args.name.is_empty() || args.name.contains([':', '/']) {
        bail!(
            "{:?} cannot be the name of a server: it stands before a colon",
            args.name
        );
    }
    let url = endpoint(&args.url)?;
    let token = match (&args.token, args.token_stdin) {
        (Some(token), _) if token != "-" => Some(token.clone()),
        (None, false) => None,
        _ => Some(token_from_stdin()?),
    };
    let token_file = args
        .token_file
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    if let Some(path) = &token_file {
        std::fs::metadata(path)
            .with_context(|| format!("cannot read the token in {}", path.display()))?;
    }
    let mut servers = files.load()?;
    let server = Server {
        endpoint: url.to_string(),
        token,
        token_file,
    };
    servers.servers.insert(args.name.clone(), server);
    if args.set_default || servers.default_server.is_none() {
        servers.default_server = Some(args.name.clone());
    }
    files.store(&servers)?;
    let default = if servers.default_server.as_ref() == Some(&args.name) {
        ", the default"
    } else {
        ""
    };
    say(&format!("Logged in to {} ({url}){default}.", args.name));
    Ok(())
}

fn token_from_stdin() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        say("Paste the token, then press Ctrl-D:");
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(1 << 20)
        .read_to_string(&mut text)
        .context("cannot read the token")?;
    match text.trim() {
        "" => bail!("standard input has no token"),
        token => Ok(token.to_owned()),
    }
}

fn key_pair(path: &PathBuf) -> anyhow::Result<KeyPair> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key: SecretKey = text
        .parse()
        .with_context(|| format!("{} has no secret key", path.display()))?;
    Ok(KeyPair::Keypair(key.expose()))
}

fn tail(cache: &str) -> String {
    format!("_api/v1/cache-config/{cache}")
}

pub(super) async fn create(args: &CreateArgs, files: &Files) -> anyhow::Result<()> {
    let place = files.find(&args.cache)?;
    check_name(&place.cache)?;
    StoreDir::new(&args.store_dir)?;
    let client = Client::new(place)?;
    let body = CreateCache {
        keypair: args
            .keypair_path
            .as_ref()
            .map_or(Ok(KeyPair::Generate), key_pair)?,
        is_public: args.public,
        store_dir: &args.store_dir,
        priority: args.priority,
        upstream_cache_key_names: &args.upstream,
    };
    let name = client.name.clone();
    client
        .command(
            Method::POST,
            &tail(&name),
            Some(&body),
            &format!("cannot create the cache {name}"),
        )
        .await?;
    say(&format!(
        "Created {name}. Next: rave cache push {0} PATH..., and rave cache use {0} where it is to be read.",
        args.cache
    ));
    Ok(())
}

pub(super) async fn configure(args: &ConfigureArgs, files: &Files) -> anyhow::Result<()> {
    let client = Client::new(files.find(&args.cache)?)?;
    let change = CacheConfig {
        keypair: match &args.keypair_path {
            Some(path) => Some(key_pair(path)?),
            None => args.regenerate_keypair.then_some(KeyPair::Generate),
        },
        is_public: (args.public || args.private).then_some(args.public),
        store_dir: args.store_dir.clone(),
        priority: args.priority,
        upstream_cache_key_names: args.upstream.clone(),
        retention_period: match &args.retention_period {
            Some(text) => Some(Retention::Period(seconds(text)?)),
            None => args.reset_retention_period.then_some(Retention::Global),
        },
        ..CacheConfig::default()
    };
    if serde_json::to_value(&change)?
        .as_object()
        .is_some_and(serde_json::Map::is_empty)
    {
        return Err(hinted(
            "nothing is to be changed",
            "rave cache configure --help lists what can be",
            None,
        ));
    }
    let name = client.name.clone();
    client
        .command(
            Method::PATCH,
            &tail(&name),
            Some(&change),
            &format!("cannot configure the cache {name}"),
        )
        .await?;
    say(&format!("Configured {name}."));
    Ok(())
}

pub(super) fn seconds(text: &str) -> anyhow::Result<u32> {
    if text.trim() == "0" {
        return Ok(0);
    }
    let found = rave_ci_lang::parse_duration(text).ok().flatten();
    let seconds = found.and_then(|it| u32::try_from(it.as_secs()).ok());
    seconds.with_context(|| format!("{text:?} is no duration such as `30 days` or `2 weeks`"))
}

pub(super) async fn destroy(args: &DestroyArgs, files: &Files) -> anyhow::Result<()> {
    let client = Client::new(files.find(&args.cache)?)?;
    let name = client.name.clone();
    if !args.yes {
        if !std::io::stdin().is_terminal() {
            return Err(hinted(
                format!("{name} would be destroyed with everything in it"),
                "say --yes if that is meant",
                None,
            ));
        }
        say(&format!(
            "Everything in {name} becomes unavailable to everyone. Type its name to go on:"
        ));
        let mut text = String::new();
        std::io::stdin().read_line(&mut text)?;
        if text.trim() != name {
            bail!("that is not its name; nothing was done");
        }
    }
    let doing = format!("cannot destroy the cache {name}");
    client
        .command(Method::DELETE, &tail(&name), None::<&()>, &doing)
        .await?;
    say(&format!("Destroyed {name}."));
    Ok(())
}

pub(super) async fn info(args: &InfoArgs, files: &Files) -> anyhow::Result<()> {
    let (client, config) = Client::open(files.find(&args.cache)?).await?;
    let substituter = client
        .substituter()
        .as_str()
        .trim_end_matches('/')
        .to_owned();
    if args.json {
        let mut json = serde_json::to_value(&config)?;
        json["name"] = json!(client.name);
        json["substituter_endpoint"] = json!(substituter);
        print(&format!("{json}\n"))?;
        return Ok(());
    }
    let style = Style::stdout();
    let mut text = format!("{}\n", style.bold(&client.name));
    let mut line = |name: &str, value: String| text += &format!("  {name:<22}{value}\n");
    line(
        "Read by",
        if config.is_public == Some(true) {
            "everyone"
        } else {
            "tokens only"
        }
        .to_owned(),
    );
    line("Substituter", substituter);
    line("Public key", config.public_key.unwrap_or_default());
    line("Store", config.store_dir.unwrap_or_default());
    line(
        "Priority",
        config.priority.map(|it| it.to_string()).unwrap_or_default(),
    );
    line(
        "Keys of upstreams",
        config
            .upstream_cache_key_names
            .unwrap_or_default()
            .join(", "),
    );
    line(
        "Unused paths are kept",
        match config.retention_period {
            None | Some(Retention::Global) => "as the server is configured".to_owned(),
            Some(Retention::Period(0)) => "for ever".to_owned(),
            Some(Retention::Period(seconds)) => format!("{} days", f64::from(seconds) / 86400.0),
        },
    );
    print(&text)?;
    Ok(())
}
