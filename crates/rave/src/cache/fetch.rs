//! `rave cache pull`, `verify`, `warm` and the reading half of `copy`: what a cache has, looked up, downloaded and checked.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use rave_nix::nar::Unpacker;
use rave_nix::{HashPart, NarInfo, PublicKey, StoreDir, StorePath};

use super::client::Client;
use super::progress::Progress;
use super::transfer;

/// Questions at once.
const LOOKUPS: usize = 24;

/// Reads an argument that names a path of a cache: a full path, a base name or a hash part.
pub(super) fn hash_part(store: &StoreDir, text: &str) -> anyhow::Result<HashPart> {
    let base = text
        .strip_prefix(store.as_str())
        .map_or(text, |it| it.trim_start_matches('/'));
    let base = base.split('/').next().unwrap_or_default();
    match base.parse::<StorePath>() {
        Ok(path) => Ok(path.hash_part()),
        Err(error) => base.parse::<HashPart>().map_err(|_| error.into()),
    }
}

/// What a cache says of some paths, or of all that they refer to as well.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    pub(super) found: Vec<NarInfo>,
    pub(super) missing: Vec<HashPart>,
}

pub(super) async fn look_up(
    client: &Client,
    store: &StoreDir,
    roots: &[HashPart],
    with_closure: bool,
) -> anyhow::Result<Lookup> {
    let mut lookup = Lookup::default();
    let mut seen: HashSet<HashPart> = HashSet::new();
    let mut todo: VecDeque<HashPart> = roots
        .iter()
        .copied()
        .filter(|it| seen.insert(*it))
        .collect();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < LOOKUPS
            && let Some(path) = todo.pop_front()
        {
            running.push(async move { (path, client.narinfo(store, path).await) });
        }
        let Some((path, answer)) = running.next().await else {
            return Ok(lookup);
        };
        match answer? {
            None => lookup.missing.push(path),
            Some(narinfo) => {
                let references = narinfo.info.references.iter().map(StorePath::hash_part);
                todo.extend(references.filter(|it| with_closure && seen.insert(*it)));
                lookup.found.push(narinfo);
            }
        }
    }
}

/// Fails unless a path is signed by one of the keys or named by its content.
pub(super) fn trust(store: &StoreDir, narinfo: &NarInfo, keys: &[PublicKey]) -> anyhow::Result<()> {
    let info = &narinfo.info;
    if info.signed_by(store, keys).is_some() || info.is_content_addressed(store) {
        return Ok(());
    }
    let names: Vec<&str> = keys.iter().map(PublicKey::name).collect();
    let signers: Vec<&str> = info
        .signatures
        .iter()
        .map(rave_nix::Signature::key_name)
        .collect();
    match signers.iter().any(|it| names.contains(it)) {
        true => bail!(
            "the signature of {} does not fit: the key is another one, or the narinfo was changed",
            info.path
        ),
        false if signers.is_empty() => bail!("{} is not signed", info.path),
        false => bail!(
            "{} is signed by {} and not by {}",
            info.path,
            signers.join(", "),
            names.join(", ")
        ),
    }
}

/// What is done with a download.
#[derive(Clone, Debug)]
pub(super) enum Sink {
    /// Only look at it.
    Nowhere,
    /// Unpack it below a directory under its base name.
    Directory(PathBuf),
}

/// Downloads paths side by side and checks them. Returns those that failed with why.
pub(super) async fn download(
    client: &Client,
    paths: &[NarInfo],
    sink: &Sink,
    jobs: usize,
    progress: &Progress,
) -> Vec<(StorePath, String)> {
    let failed = Mutex::new(Vec::new());
    let all = stream::iter(paths).for_each_concurrent(jobs.max(1), async |narinfo| {
        let info = &narinfo.info;
        progress.begin(info.path.name());
        match one(client, narinfo, sink, progress).await {
            Ok(()) => progress.done(&info.path.to_string(), info.nar_size, ""),
            Err(error) => {
                progress.failed(&info.path.to_string(), &error);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push((info.path.clone(), format!("{error:#}")));
            }
        }
    });
    all.await;
    progress.finish();
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

async fn one(
    client: &Client,
    narinfo: &NarInfo,
    sink: &Sink,
    progress: &Progress,
) -> anyhow::Result<()> {
    let bar = progress.clone();
    match sink {
        Sink::Nowhere => {
            let response = client.nar(narinfo).await?;
            let take = move |bytes: &[u8]| {
                bar.add(bytes.len() as u64);
                Ok(())
            };
            transfer::unpacked(response, narinfo, take, || Ok(())).await
        }
        Sink::Directory(directory) => {
            let to = directory.join(narinfo.info.path.to_string());
            if to.symlink_metadata().is_ok() {
                bail!("{} is there already", to.display());
            }
            let response = client.nar(narinfo).await?;
            // Under its name is only what is whole and right.
            let beside = tempfile::Builder::new()
                .prefix(".rave-")
                .tempdir_in(directory);
            let beside =
                beside.with_context(|| format!("cannot write in {}", directory.display()))?;
            let part = beside.path().join("nar");
            let unpacker = Arc::new(Mutex::new(Some(Unpacker::new(&part))));
            let last = unpacker.clone();
            let take = move |bytes: &[u8]| {
                bar.add(bytes.len() as u64);
                let mut unpacker = unpacker.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(unpacker.as_mut().map_or(Ok(()), |it| it.push(bytes))?)
            };
            let finish = move || {
                let unpacker = last.lock().unwrap_or_else(PoisonError::into_inner).take();
                unpacker.map_or(Ok(()), Unpacker::finish)?;
                move_to(&part, &to)
            };
            let done = transfer::unpacked(response, narinfo, take, finish).await;
            drop(beside);
            done
        }
    }
}

fn move_to(part: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(part, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_nix::SecretKey;

    #[test]
    fn a_path_is_named_in_several_ways() {
        let name = "00bgd045z0d4icpbc2yyz4gx48ak44la";
        let store = StoreDir::default();
        for text in [
            name.to_owned(),
            format!("{name}-x"),
            format!("/nix/store/{name}-x"),
            format!("/nix/store/{name}-x/bin/y"),
        ] {
            assert_eq!(
                hash_part(&store, &text).unwrap().to_string(),
                name,
                "{text}"
            );
        }
        for wrong in [
            "",
            "x",
            "/other/00bgd045z0d4icpbc2yyz4gx48ak44la-x",
            "/nix/store",
        ] {
            assert!(hash_part(&store, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_did_not_sign_is_named() {
        let store = StoreDir::default();
        let key = |name: &str, seed: u8| SecretKey::from_seed(name, [seed; 32]).unwrap();
        let mut narinfo = NarInfo {
            info: super::super::schedule::tests::info('a', ""),
            url: "nar/a.nar".to_owned(),
            compression: rave_nix::Compression::None,
            file_hash: None,
            file_size: None,
        };
        let check = |narinfo: &NarInfo, message: &str| {
            let error = trust(&store, narinfo, &[key("ours", 1).public_key()])
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        };
        check(&narinfo, "not signed");
        narinfo.info.signatures = vec![narinfo.info.sign(&store, &key("theirs", 1))];
        check(&narinfo, "signed by theirs and not by ours");
        narinfo.info.signatures = vec![narinfo.info.sign(&store, &key("ours", 2))];
        check(&narinfo, "does not fit");
        narinfo
            .info
            .signatures
            .push(narinfo.info.sign(&store, &key("ours", 1)));
        assert!(trust(&store, &narinfo, &[key("ours", 1).public_key()]).is_ok());
    }
}
