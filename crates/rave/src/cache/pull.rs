//! `rave cache pull`, `copy`, `verify` and `warm`: the commands that read from caches.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use rave_core::secret::Secret;
use rave_nix::{HashPart, NarInfo, PublicKey, StoreDir, StorePath};
use serde_json::{Value, json};

use super::client::{Client, public_keys, store_dir};
use super::fetch::{self, Lookup, Sink};
use super::files;
use super::inventory;
use super::local_store::LocalStore;
use super::progress::{Progress, Show, size};
use super::push::{HowArgs, Source, Target, arguments, counted};
use super::servers::Files;
use crate::failure::hinted;
use crate::terminal::{print, say};

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Store paths
    #[arg(required = true)]
    paths: Vec<String>,
    /// Unpack into this directory instead, each path under its name, without Nix
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// With --to: also what the paths refer to
    #[arg(long, requires = "to")]
    closure: bool,
    /// Downloads at once
    #[arg(long, short, value_name = "N", default_value_t = 5)]
    jobs: usize,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The cache to read: NAME, SERVER:NAME, or the URL of any Nix binary cache
    from: String,
    /// The cache to write: NAME, SERVER:NAME or its URL
    to: String,
    /// Store paths
    #[arg(required = true)]
    paths: Vec<String>,
    /// Copy only the paths themselves
    #[arg(long)]
    no_closure: bool,
    /// A key whose signature the paths must have (may be repeated) [default: the cache's own]
    #[arg(long = "trusted-public-key", value_name = "KEY")]
    keys: Vec<PublicKey>,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The cache: NAME, SERVER:NAME, or the URL of any Nix binary cache
    cache: String,
    /// Store paths [default: all that a RAVE server has in the cache]
    paths: Vec<String>,
    /// Check only the paths themselves
    #[arg(long)]
    no_closure: bool,
    /// A key whose signature the paths must have (may be repeated) [default: the cache's own]
    #[arg(long = "trusted-public-key", value_name = "KEY")]
    keys: Vec<PublicKey>,
    /// Downloads at once
    #[arg(long, short, value_name = "N", default_value_t = 5)]
    jobs: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WarmArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Store paths
    #[arg(required_unless_present = "flake")]
    paths: Vec<String>,
    /// The outputs of a package of a flake
    #[arg(long, value_name = "REFERENCE")]
    flake: Option<String>,
    /// Downloads at once
    #[arg(long, short, value_name = "N", default_value_t = 5)]
    jobs: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A cache to read from, with the store it is of and the keys that are trusted.
struct Reader {
    client: Client,
    store: StoreDir,
    keys: Vec<PublicKey>,
}

impl Reader {
    /// Opens a cache of a server, or a URL at which only a binary cache answers.
    async fn open(text: &str, keys: &[PublicKey], places: &Files) -> anyhow::Result<Self> {
        let opened = match places.find(text) {
            Ok(place) => Client::open(place).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok((client, config)) => {
                let keys = if keys.is_empty() {
                    public_keys(&config)?
                } else {
                    keys.to_vec()
                };
                Ok(Self {
                    client,
                    store: store_dir(&config)?,
                    keys,
                })
            }
            Err(error) if text.contains("://") => {
                let client = Client::plain(
                    text,
                    files::environment("RAVE_CACHE_TOKEN").map(Secret::new),
                )?;
                let Ok(info) = client.cache_info().await else {
                    return Err(error);
                };
                Ok(Self {
                    client,
                    store: info.store_dir,
                    keys: keys.to_vec(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads arguments, of which links to the local store are taken as well.
    fn roots(&self, paths: &[String]) -> anyhow::Result<Vec<HashPart>> {
        let local = LocalStore::open(None, files::environment).ok();
        let read = |text: &String| match fetch::hash_part(&self.store, text) {
            Ok(path) => Ok(path),
            Err(error) => match local.as_ref().map(|it| it.resolve(text)) {
                Some(Ok(path)) => Ok(path.hash_part()),
                _ => Err(error.context(format!("{text:?} does not name a store path"))),
            },
        };
        paths.iter().map(read).collect()
    }

    async fn look_up(&self, paths: &[String], with_closure: bool) -> anyhow::Result<Lookup> {
        let roots = self.roots(paths)?;
        fetch::look_up(&self.client, &self.store, &roots, with_closure).await
    }

    /// Looks up paths of which all must be there and trusted.
    async fn all(&self, paths: &[String], with_closure: bool) -> anyhow::Result<Vec<NarInfo>> {
        let lookup = self.look_up(paths, with_closure).await?;
        if let Some(first) = lookup.missing.first() {
            bail!(
                "{} lacks {}, the first of them {first}",
                self.client.name,
                counted(lookup.missing.len())
            );
        }
        if !self.keys.is_empty() {
            lookup
                .found
                .iter()
                .try_for_each(|it| fetch::trust(&self.store, it, &self.keys))?;
        }
        Ok(lookup.found)
    }
}

/// Who asks for JSON reads the failures there.
fn failures(as_json: bool) -> Show {
    match as_json {
        true => Show::Nothing,
        false => Show::Failures,
    }
}

fn bytes(paths: &[NarInfo]) -> u64 {
    paths.iter().map(|it| it.info.nar_size).sum()
}

pub(super) async fn pull(args: &PullArgs, places: &Files) -> anyhow::Result<()> {
    let reader = Reader::open(&args.cache, &[], places).await?;
    let Some(directory) = &args.to else {
        return by_nix(&reader, &args.paths);
    };
    let paths = reader.all(&args.paths, args.closure).await?;
    if reader.keys.is_empty() {
        return Err(hinted(
            "the cache has no key to check its paths by",
            "log in to its server, or use `nix copy` with keys of your own",
            None,
        ));
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot write in {}", directory.display()))?;
    let progress = Progress::new("Pulling", bytes(&paths), Show::Each);
    let sink = Sink::Directory(directory.clone());
    let failed = fetch::download(&reader.client, &paths, &sink, args.jobs, &progress).await;
    if let Some((path, why)) = failed.first() {
        bail!(
            "{} could not be pulled, the first of them {path}: {why}",
            counted(failed.len())
        );
    }
    say(&format!(
        "Unpacked {} ({}) into {}.",
        counted(paths.len()),
        size(bytes(&paths)),
        directory.display()
    ));
    Ok(())
}

/// Has Nix copy into its store: it knows how, and it decides whom it trusts.
fn by_nix(reader: &Reader, paths: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("nix");
    command.args(["--extra-experimental-features", "nix-command", "copy"]);
    command.args([
        "--from",
        reader.client.substituter().as_str().trim_end_matches('/'),
    ]);
    if !reader.keys.is_empty() {
        let keys: Vec<String> = reader.keys.iter().map(PublicKey::to_string).collect();
        command.args(["--option", "extra-trusted-public-keys", &keys.join(" ")]);
    }
    // Lives as long as the command needs it.
    let netrc = tempfile::NamedTempFile::new().context("cannot keep the token for Nix")?;
    if let (Some(token), Some(host)) = (
        reader.client.token(),
        reader.client.substituter().host_str(),
    ) {
        let entry = format!("machine {host} password {}\n", token.expose());
        std::fs::write(netrc.path(), entry).context("cannot keep the token for Nix")?;
        command.arg("--option").arg("netrc-file").arg(netrc.path());
    }
    let status = command.args(paths).status().map_err(|error| {
        hinted(
            "cannot run `nix`",
            "install Nix, or unpack without it: --to DIR",
            Some(error.into()),
        )
    })?;
    match status.success() {
        true => Ok(()),
        false => bail!("`nix copy` failed ({status})"),
    }
}

pub(super) async fn copy(args: &CopyArgs, places: &Files) -> anyhow::Result<()> {
    let reader = Reader::open(&args.from, &args.keys, places).await?;
    let (client, config) = Client::open(places.find(&args.to)?).await?;
    let target = Target::new(client, &config, &args.how)?;
    target.takes(&reader.store)?;
    let paths = arguments(&args.paths, false)?;
    let narinfos = reader.all(&paths, !args.no_closure).await?;
    let infos = narinfos.iter().map(|it| it.info.clone()).collect();
    let outcome = target
        .push(infos, &Source::Cache(reader.client, Arc::new(narinfos)))
        .await?;
    outcome.report(&target, args.how.json)
}

pub(super) async fn verify(args: &VerifyArgs, places: &Files) -> anyhow::Result<()> {
    let reader = Reader::open(&args.cache, &args.keys, places).await?;
    let paths = match args.paths.is_empty() {
        true => inventory::all(&reader.client).await?,
        false => args.paths.clone(),
    };
    let lookup = reader.look_up(&paths, !args.no_closure).await?;
    let mut wrong: Vec<(String, String)> = lookup
        .missing
        .iter()
        .map(|it| (it.to_string(), "the cache does not have it".to_owned()))
        .collect();
    if !reader.keys.is_empty() {
        for narinfo in &lookup.found {
            if let Err(error) = fetch::trust(&reader.store, narinfo, &reader.keys) {
                wrong.push((narinfo.info.path.to_string(), format!("{error:#}")));
            }
        }
    }
    let progress = Progress::new("Verifying", bytes(&lookup.found), failures(args.json));
    let failed = fetch::download(
        &reader.client,
        &lookup.found,
        &Sink::Nowhere,
        args.jobs,
        &progress,
    )
    .await;
    wrong.extend(
        failed
            .into_iter()
            .map(|(path, why)| (path.to_string(), why)),
    );
    let signed = !reader.keys.is_empty();
    if args.json {
        let wrong: Vec<Value> = wrong
            .iter()
            .map(|(path, why)| json!({"path": path, "error": why}))
            .collect();
        let json = json!({"verified": lookup.found.len(), "bytes": bytes(&lookup.found), "signatures": signed, "wrong": wrong});
        print(&format!("{json}\n"))?;
    }
    match wrong.first() {
        Some((path, why)) => Err(hinted(
            format!(
                "{} of {} wrong, the first {path}: {why}",
                wrong.len(),
                args.cache
            ),
            "push these paths again from a store that has them",
            None,
        )),
        None => {
            let what = if signed {
                "hashes and signatures"
            } else {
                "hashes (no key is known: --trusted-public-key)"
            };
            say(&format!(
                "{} ({}) of {} have the right {what}.",
                counted(lookup.found.len()),
                size(bytes(&lookup.found)),
                args.cache
            ));
            Ok(())
        }
    }
}

pub(super) async fn warm(args: &WarmArgs, places: &Files) -> anyhow::Result<()> {
    let reader = Reader::open(&args.cache, &[], places).await?;
    let mut paths = args.paths.clone();
    if let Some(flake) = &args.flake {
        paths.extend(outputs_of(flake)?);
    }
    let lookup = reader.look_up(&paths, true).await?;
    let progress = Progress::new("Warming", bytes(&lookup.found), failures(args.json));
    let failed = fetch::download(
        &reader.client,
        &lookup.found,
        &Sink::Nowhere,
        args.jobs,
        &progress,
    )
    .await;
    if args.json {
        let failed: Vec<Value> = failed
            .iter()
            .map(
                |(path, why): &(StorePath, String)| json!({"path": path.to_string(), "error": why}),
            )
            .collect();
        let missing: Vec<String> = lookup.missing.iter().map(HashPart::to_string).collect();
        let json = json!({"warm": lookup.found.len() - failed.len(), "bytes": bytes(&lookup.found), "missing": missing, "failed": failed});
        print(&format!("{json}\n"))?;
    } else {
        let missing = match lookup.missing.len() {
            0 => String::new(),
            missing => format!("; {} nobody upstream has", counted(missing)),
        };
        say(&format!(
            "Warm: {} ({}){missing}.",
            counted(lookup.found.len() - failed.len()),
            size(bytes(&lookup.found))
        ));
    }
    match failed.first() {
        Some((path, why)) => bail!(
            "{} could not be fetched, the first of them {path}: {why}",
            counted(failed.len())
        ),
        None => Ok(()),
    }
}

/// Asks Nix what a flake's package would be built as.
fn outputs_of(flake: &str) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new("nix");
    command.args([
        "--extra-experimental-features",
        "nix-command flakes",
        "build",
        "--dry-run",
        "--json",
        "--no-link",
        flake,
    ]);
    let output = command.output().map_err(|error| {
        hinted(
            "cannot run `nix`",
            "install Nix, or name store paths",
            Some(error.into()),
        )
    })?;
    if !output.status.success() {
        bail!(
            "Nix cannot evaluate {flake}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let json: Value = serde_json::from_slice(&output.stdout)
        .context("`nix build --json` printed something unknown")?;
    let outputs = json
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["outputs"].as_object());
    Ok(outputs
        .flat_map(|it| it.values())
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect())
}
