//! `rave cache push` and `copy`: paths into a cache, from this machine's store or from another cache.

use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rave_nix::{NarInfo, PathInfo, StoreDir, StorePath};
use serde_json::{Value, json};

use super::client::{Client, UploadError, persist, store_dir};
use super::files;
use super::local_store::LocalStore;
use super::progress::{Progress, Show, size};
use super::schedule::Schedule;
use super::servers::Files;
use super::transfer;
use super::wire::CacheConfig;
use crate::failure::hinted;
use crate::terminal::{Style, print, say};

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Store paths, or links to them such as ./result
    paths: Vec<String>,
    /// Also push what the paths refer to (the default)
    #[arg(long, overrides_with = "no_closure")]
    closure: bool,
    /// Push only the paths themselves
    #[arg(long)]
    no_closure: bool,
    /// Read more paths from standard input, one a line
    #[arg(long)]
    stdin: bool,
    /// The store [default: as Nix programs choose it]
    #[arg(long, value_name = "URI", env = "NIX_REMOTE")]
    store: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

/// What all commands that push have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct HowArgs {
    /// Uploads at once
    #[arg(long, short, value_name = "N", default_value_t = 5)]
    pub(super) jobs: usize,
    /// Also push paths that an upstream cache signed
    #[arg(long, visible_alias = "ignore-upstream-cache-filter")]
    pub(super) ignore_upstream_filter: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Pushes paths of the local store.
pub(super) async fn run(args: &PushArgs, places: &Files) -> anyhow::Result<()> {
    let (client, config) = Client::open(places.find(&args.cache)?).await?;
    let local = LocalStore::open(args.store.as_deref(), files::environment)?;
    let target = Target::new(client, &config, &args.how)?;
    target.takes(&local.dir)?;
    let paths = arguments(&args.paths, args.stdin)?;
    let roots = paths
        .iter()
        .map(|it| local.resolve(it))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let infos = local.infos(&roots, !args.no_closure)?;
    let outcome = target.push(infos, &Source::Local(local)).await?;
    outcome.report(&target, args.how.json)
}

/// Where the paths are.
#[derive(Clone)]
pub(super) enum Source {
    Local(LocalStore),
    Cache(Client, Arc<Vec<NarInfo>>),
}

/// A cache that takes paths.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) store: StoreDir,
    /// Paths with signatures of these keys are got elsewhere. Empty: none are left out.
    upstream: Vec<String>,
    jobs: usize,
    show: Show,
}

/// What became of a push.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) pushed: Vec<PathInfo>,
    deduplicated: usize,
    pub(super) there: usize,
    pub(super) upstream: usize,
    /// Each with why.
    pub(super) failed: Vec<(StorePath, String)>,
}

impl Target {
    pub(super) fn new(client: Client, config: &CacheConfig, how: &HowArgs) -> anyhow::Result<Self> {
        let upstream = config.upstream_cache_key_names.clone().unwrap_or_default();
        Ok(Self {
            store: store_dir(config)?,
            client,
            upstream: if how.ignore_upstream_filter {
                Vec::new()
            } else {
                upstream
            },
            jobs: how.jobs.max(1),
            show: if how.json { Show::Nothing } else { Show::Each },
        })
    }

    /// Fails if the cache is for another store.
    pub(super) fn takes(&self, store: &StoreDir) -> anyhow::Result<()> {
        if self.store == *store {
            return Ok(());
        }
        let text = format!(
            "the cache {} is for the store {}, and these paths are of {store}",
            self.client.name, self.store
        );
        Err(hinted(
            text,
            format!("rave cache create NAME --store-dir {store}"),
            None,
        ))
    }

    fn is_upstream(&self, info: &PathInfo) -> bool {
        let known = |name: &str| self.upstream.iter().any(|it| it == name);
        info.signatures.iter().any(|it| known(it.key_name()))
    }

    /// Uploads what the cache lacks, what a path refers to before the path itself.
    pub(super) async fn push(
        &self,
        paths: Vec<PathInfo>,
        source: &Source,
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        let (upstream, mut wanted): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|it| self.is_upstream(it));
        outcome.upstream = upstream.len();
        if wanted.is_empty() {
            return Ok(outcome);
        }
        let missing = self.client.missing(&wanted).await?;
        let all = wanted.len();
        wanted.retain(|it| missing.contains(&it.path.hash_part()));
        outcome.there = all - wanted.len();
        let progress = Progress::new(
            "Pushing",
            wanted.iter().map(|it| it.nar_size).sum(),
            self.show,
        );
        let mut schedule = Schedule::new(wanted);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.jobs
                && let Some((n, info)) = schedule.next()
            {
                let progress = progress.clone();
                running.push(async move {
                    progress.begin(info.path.name());
                    let result = self.upload(&info, source, &progress).await;
                    (n, info, result)
                });
            }
            let Some((n, info, result)) = running.next().await else {
                break;
            };
            match result {
                Ok(deduplicated) => {
                    let note = if deduplicated { "known content" } else { "" };
                    progress.done(&info.path.to_string(), info.nar_size, note);
                    outcome.deduplicated += usize::from(deduplicated);
                    outcome.pushed.push(info);
                    schedule.done(n);
                }
                Err(error) => {
                    progress.failed(&info.path.to_string(), &error);
                    outcome.failed.push((info.path, format!("{error:#}")));
                }
            }
        }
        progress.finish();
        let left = schedule.left().into_iter();
        outcome.failed.extend(left.map(|it| {
            (
                it.path,
                "something that it refers to could not be pushed".to_owned(),
            )
        }));
        Ok(outcome)
    }

    async fn upload(
        &self,
        info: &PathInfo,
        source: &Source,
        progress: &Progress,
    ) -> anyhow::Result<bool> {
        let result = persist(async || {
            let counted = Arc::new(AtomicU64::new(0));
            let (count, bar) = (counted.clone(), progress.clone());
            let sent = move |bytes: u64| {
                count.fetch_add(bytes, Ordering::Relaxed);
                bar.add(bytes);
            };
            let put = async |body| self.client.upload(&self.store, info, body).await;
            let result = match source {
                Source::Local(store) => {
                    transfer::packed(store.real_path(&info.path), sent, put).await
                }
                Source::Cache(from, narinfos) => {
                    let find = narinfos.iter().find(|it| it.info.path == info.path);
                    let narinfo = find.context("the path is not in the other cache")?;
                    let response = from.nar(narinfo).await.map_err(UploadError::Again)?;
                    transfer::relayed(response, narinfo, sent, put).await
                }
            };
            // What the server had already it may not have read to its end.
            let counted = counted.load(Ordering::Relaxed);
            match result.is_ok() {
                true => progress.add(info.nar_size.saturating_sub(counted)),
                false => progress.take_back(counted),
            }
            result
        });
        Ok(result.await?.is_deduplicated())
    }
}

impl Outcome {
    /// Says what became of it, as lines for a person or as JSON, and fails if something failed.
    pub(super) fn report(&self, target: &Target, as_json: bool) -> anyhow::Result<()> {
        let (cache, upstream) = (&target.client.name, &target.upstream);
        let bytes: u64 = self.pushed.iter().map(|it| it.nar_size).sum();
        if as_json {
            let failed = self
                .failed
                .iter()
                .map(|(path, why)| json!({"path": path.to_string(), "error": why}));
            let json = json!({
                "cache": cache,
                "pushed": self.pushed.iter().map(|it| it.path.to_string()).collect::<Vec<_>>(),
                "bytes": bytes,
                "deduplicated": self.deduplicated,
                "already_there": self.there,
                "skipped_upstream": self.upstream,
                "failed": failed.collect::<Vec<Value>>(),
            });
            print(&format!("{json}\n"))?;
        } else {
            let style = Style::stderr();
            let mut text = format!(
                "Pushed {} ({}) to {}",
                counted(self.pushed.len()),
                size(bytes),
                style.bold(cache)
            );
            if self.there > 0 {
                text += &format!("; {} there already", self.there);
            }
            say(&format!("{text}."));
            if self.upstream > 0 {
                say(&format!(
                    "Left out {} with a signature of {}, because everyone gets these there; --ignore-upstream-filter pushes them too.",
                    counted(self.upstream),
                    upstream.join(", ")
                ));
            }
        }
        match self.failed.first() {
            None => Ok(()),
            Some((path, why)) => Err(hinted(
                format!(
                    "{} could not be pushed, the first of them {path}: {why}",
                    counted(self.failed.len())
                ),
                "run it again: what is there already is not sent again",
                None,
            )),
        }
    }
}

pub(super) fn counted(paths: usize) -> String {
    format!("{paths} path{}", if paths == 1 { "" } else { "s" })
}

/// Reads the paths of a command: its arguments and, if asked to, the lines of standard input.
pub(super) fn arguments(paths: &[String], stdin: bool) -> anyhow::Result<Vec<String>> {
    let mut all = paths.to_vec();
    if stdin {
        for line in std::io::stdin().lock().lines() {
            let line = line.context("cannot read standard input")?;
            all.extend(Some(line.trim().to_owned()).filter(|it| !it.is_empty()));
        }
    }
    if all.is_empty() && !stdin {
        bail!("no paths are given");
    }
    Ok(all)
}
