//! The Nix store of this machine: which paths it has and what is known of them, read from its database beside running Nix
//! programs, or, where the database cannot be read, asked of `nix`.

use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use rave_nix::{NixHash, PathInfo, Sha256, StoreDir, StorePath};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use serde_json::Value;

use super::schedule;
use crate::failure::hinted;

/// A store on this machine.
#[derive(Clone, Debug)]
pub(super) struct LocalStore {
    /// What its paths begin with.
    pub(super) dir: StoreDir,
    /// Where they really are.
    pub(super) real: PathBuf,
    state: PathBuf,
    /// How Nix programs are told of it.
    uri: Option<String>,
}

impl LocalStore {
    /// Opens the store that Nix programs would use with this `--store` and environment.
    pub(super) fn open(
        uri: Option<&str>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let uri = uri.map(str::to_owned).or_else(|| environment("NIX_REMOTE"));
        let mut store = environment("NIX_STORE_DIR").or_else(|| environment("NIX_STORE"));
        let mut state = environment("NIX_STATE_DIR");
        let mut root = None;
        let mut real = None;
        if let Some(text) = uri.as_deref() {
            let (kind, query) = text.split_once('?').unwrap_or((text, ""));
            match kind {
                "" | "auto" | "daemon" | "local" => {}
                path if path.starts_with('/') => root = Some(path.to_owned()),
                _ => bail!(
                    "the store {text:?} is not on this machine: only `local`, `daemon` and `auto` are, with or without `?root=DIR`"
                ),
            }
            for (key, value) in query.split('&').filter_map(|it| it.split_once('=')) {
                match key {
                    "root" => root = Some(value.to_owned()),
                    "store" => store = Some(value.to_owned()),
                    "state" => state = Some(value.to_owned()),
                    "real" => real = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        let dir = match store {
            Some(store) => StoreDir::new(store.trim_end_matches('/')).context("NIX_STORE_DIR")?,
            None => StoreDir::default(),
        };
        let below = |path: &str| match &root {
            Some(root) => Path::new(root).join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        };
        Ok(Self {
            real: real.map_or_else(|| below(dir.as_str()), PathBuf::from),
            state: state.map_or_else(|| below("/nix/var/nix"), PathBuf::from),
            dir,
            uri,
        })
    }

    /// Finds the store path that an argument means: a full path, something in one, or a link to it such as `result`.
    pub(super) fn resolve(&self, argument: &str) -> anyhow::Result<StorePath> {
        let mut path =
            std::path::absolute(argument).with_context(|| format!("{argument:?} is no path"))?;
        for _ in 0..64 {
            if let Some(found) = self.inside(&path) {
                return found;
            }
            match std::fs::read_link(&path) {
                Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
                Err(_) => match std::fs::canonicalize(&path) {
                    Ok(real) if real != path => path = real,
                    _ => break,
                },
            }
        }
        bail!(
            "{argument:?} is not in the store {} and is no link to something there",
            self.dir
        )
    }

    fn inside(&self, path: &Path) -> Option<anyhow::Result<StorePath>> {
        let rest = path
            .strip_prefix(self.dir.as_str())
            .or_else(|_| path.strip_prefix(&self.real))
            .ok()?;
        let Some(Component::Normal(name)) = rest.components().next() else {
            return None;
        };
        Some(
            name.to_str()
                .context("the path is not text")
                .and_then(|it| Ok(it.parse()?)),
        )
    }

    pub(super) fn real_path(&self, path: &StorePath) -> PathBuf {
        self.real.join(path.to_string())
    }

    /// Returns what is known of some paths, or of their whole closure.
    pub(super) fn infos(
        &self,
        roots: &[StorePath],
        with_closure: bool,
    ) -> anyhow::Result<Vec<PathInfo>> {
        match Database::open(self) {
            Ok(database) => match with_closure {
                true => schedule::closure(roots, |it| database.info(it)),
                false => roots.iter().map(|it| database.info(it)).collect(),
            },
            Err(error) => self.ask_nix(roots, with_closure).map_err(|nix| {
                let text = format!("cannot read the store's database, and `nix` does not know either: {nix:#}");
                hinted(text, "is Nix installed on this machine? NIX_STATE_DIR or --store say where the store is", Some(error))
            }),
        }
    }

    /// Follows what becomes valid. Fails where the database cannot be read.
    pub(super) fn database(&self) -> anyhow::Result<Database> {
        Database::open(self)
    }

    fn ask_nix(&self, roots: &[StorePath], with_closure: bool) -> anyhow::Result<Vec<PathInfo>> {
        let mut command = Command::new("nix");
        command.args([
            "--extra-experimental-features",
            "nix-command",
            "path-info",
            "--json",
        ]);
        if with_closure {
            command.arg("--recursive");
        }
        if let Some(uri) = self.uri.as_deref().filter(|it| !it.is_empty()) {
            command.args(["--store", uri]);
        }
        command.args(roots.iter().map(|it| self.dir.join(it)));
        let output = command.output().context("cannot run `nix`")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        path_info_json(&self.dir, &serde_json::from_slice(&output.stdout)?)
    }
}

/// Reads what `nix path-info --json` prints: a list until 2.18, since then an object by path.
fn path_info_json(dir: &StoreDir, json: &Value) -> anyhow::Result<Vec<PathInfo>> {
    let one = |path: &str, value: &Value| -> anyhow::Result<PathInfo> {
        let path = match path.starts_with('/') {
            true => dir.parse(path)?,
            false => path.parse()?,
        };
        let text = |name: &str| value[name].as_str();
        let list = |name: &str| {
            value[name]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        };
        let base = |it: &str| -> anyhow::Result<StorePath> {
            Ok(it.rsplit('/').next().unwrap_or(it).parse()?)
        };
        let hash =
            text("narHash").with_context(|| format!("{path} is not valid in the local store"))?;
        Ok(PathInfo {
            nar_hash: hash.parse()?,
            nar_size: value["narSize"].as_u64().unwrap_or_default(),
            references: PathInfo::sorted(list("references").map(base).collect::<Result<_, _>>()?),
            deriver: text("deriver").and_then(|it| base(it).ok()),
            signatures: list("signatures")
                .filter_map(|it| it.parse().ok())
                .collect(),
            content_address: text("ca").and_then(|it| it.parse().ok()),
            path,
        })
    };
    match json {
        Value::Array(all) => all
            .iter()
            .map(|it| one(it["path"].as_str().unwrap_or_default(), it))
            .collect(),
        Value::Object(all) => all.iter().map(|(path, it)| one(path, it)).collect(),
        _ => bail!("`nix path-info` printed something unknown"),
    }
}

/// The database of a store, opened to read.
pub(super) struct Database {
    connection: Connection,
    dir: StoreDir,
}

impl Database {
    fn open(store: &LocalStore) -> anyhow::Result<Self> {
        let path = store.state.join("db/db.sqlite");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let doing = || format!("cannot read {}", path.display());
        let connection = Connection::open_with_flags(&path, flags).with_context(doing)?;
        connection
            .busy_timeout(std::time::Duration::from_secs(60))
            .with_context(doing)?;
        // A file that cannot be read shows only now.
        connection
            .query_row("select 1 from ValidPaths limit 1", [], |_| Ok(()))
            .optional()
            .with_context(doing)?;
        Ok(Self {
            connection,
            dir: store.dir.clone(),
        })
    }

    fn info(&self, path: &StorePath) -> anyhow::Result<PathInfo> {
        let full = self.dir.join(path);
        let sql = "select id, hash, narSize, deriver, sigs, ca from ValidPaths where path = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = statement
            .query_row([&full], |row| {
                let text = |n: usize| row.get::<_, Option<String>>(n);
                Ok((
                    row.get::<_, i64>(0)?,
                    text(1)?,
                    row.get::<_, Option<i64>>(2)?,
                    text(3)?,
                    text(4)?,
                    text(5)?,
                ))
            })
            .optional()?;
        let Some((id, hash, size, deriver, signatures, address)) = row else {
            return Err(hinted(
                format!("{full} is not valid in the local store"),
                "build or download it first: nix-store --realise",
                None,
            ));
        };
        let sql = "select path from Refs join ValidPaths on reference = id where referrer = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let references = statement.query_map([id], |row| row.get::<_, String>(0))?;
        let references = references
            .map(|it| Ok(self.dir.parse(&it?)?))
            .collect::<anyhow::Result<_>>()?;
        let hash: NixHash = hash.unwrap_or_default().parse()?;
        Ok(PathInfo {
            path: path.clone(),
            nar_hash: Sha256::try_from(hash)
                .map_err(|it| anyhow::anyhow!("{it} is not a SHA-256"))?,
            nar_size: u64::try_from(size.unwrap_or_default()).unwrap_or_default(),
            references: PathInfo::sorted(references),
            deriver: deriver.and_then(|it| self.dir.parse(&it).ok()),
            signatures: signatures
                .iter()
                .flat_map(|it| it.split_whitespace())
                .filter_map(|it| it.parse().ok())
                .collect(),
            content_address: address
                .filter(|it| !it.is_empty())
                .and_then(|it| it.parse().ok()),
        })
    }

    /// Returns the number of the path that became valid last.
    pub(super) fn last(&self) -> anyhow::Result<i64> {
        let sql = "select coalesce(max(id), 0) from ValidPaths";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Returns what became valid after the path of a number, in order, each with its own.
    pub(super) fn since(&self, number: i64) -> anyhow::Result<Vec<(i64, StorePath)>> {
        let sql = "select id, path from ValidPaths where id > ? order by id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows =
            statement.query_map([number], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let rows = rows.map(|it| {
            let (id, path) = it?;
            Ok((id, self.dir.parse(&path)?))
        });
        rows.collect()
    }

    /// Leaves out the paths that went again since they became valid.
    pub(super) fn still_valid(&self, paths: Vec<StorePath>) -> anyhow::Result<Vec<StorePath>> {
        let mut statement = self
            .connection
            .prepare_cached("select 1 from ValidPaths where path = ?")?;
        let mut left = Vec::new();
        for path in paths {
            if statement.exists([self.dir.join(&path)])? {
                left.push(path);
            }
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(uri: Option<&str>, pairs: &[(&str, &str)]) -> LocalStore {
        let find = |name: &str| {
            pairs
                .iter()
                .find(|it| it.0 == name)
                .map(|it| it.1.to_owned())
        };
        LocalStore::open(uri, find).unwrap()
    }

    #[test]
    fn a_store_is_where_nix_has_it() {
        let check = |store: LocalStore, dir: &str, real: &str, state: &str| {
            assert_eq!(
                (store.dir.as_str(), store.real, store.state),
                (dir, PathBuf::from(real), PathBuf::from(state))
            );
        };
        check(store(None, &[]), "/nix/store", "/nix/store", "/nix/var/nix");
        check(
            store(Some("daemon"), &[]),
            "/nix/store",
            "/nix/store",
            "/nix/var/nix",
        );
        check(
            store(
                None,
                &[("NIX_STORE_DIR", "/s/store"), ("NIX_STATE_DIR", "/s/var")],
            ),
            "/s/store",
            "/s/store",
            "/s/var",
        );
        check(
            store(Some("local?root=/r"), &[]),
            "/nix/store",
            "/r/nix/store",
            "/r/nix/var/nix",
        );
        check(
            store(None, &[("NIX_REMOTE", "local?root=/r")]),
            "/nix/store",
            "/r/nix/store",
            "/r/nix/var/nix",
        );
        check(
            store(Some("/r"), &[]),
            "/nix/store",
            "/r/nix/store",
            "/r/nix/var/nix",
        );
        assert!(LocalStore::open(Some("ssh://host"), |_| None).is_err());
    }

    #[test]
    fn arguments_lead_to_store_paths() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let store = store(Some(&format!("local?root={root}")), &[]);
        let name = "00bgd045z0d4icpbc2yyz4gx48ak44la-x";
        std::os::unix::fs::symlink(format!("/nix/store/{name}/bin"), dir.path().join("one"))
            .unwrap();
        std::os::unix::fs::symlink("one", dir.path().join("two")).unwrap();
        let check = |argument: &str| {
            assert_eq!(
                store.resolve(argument).unwrap().to_string(),
                name,
                "{argument}"
            )
        };
        check(&format!("/nix/store/{name}"));
        check(&format!("/nix/store/{name}/bin/x"));
        check(&format!("{root}/nix/store/{name}"));
        check(&format!("{root}/two"));
        for wrong in ["/nix/store", "/etc/hostname", "/nix/store/x", "/absent"] {
            assert!(store.resolve(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_forms_of_path_info_are_read() {
        let dir = StoreDir::default();
        let name = "00bgd045z0d4icpbc2yyz4gx48ak44la-x";
        let value = serde_json::json!({
            "narHash": "sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=", "narSize": 7,
            "references": [format!("/nix/store/{name}")], "path": format!("/nix/store/{name}"), "valid": true,
        });
        let list = path_info_json(&dir, &serde_json::json!([value])).unwrap();
        let object = path_info_json(
            &dir,
            &serde_json::json!({ format!("/nix/store/{name}"): value }),
        )
        .unwrap();
        assert_eq!(list, object);
        assert_eq!(
            (
                list[0].path.to_string().as_str(),
                list[0].nar_size,
                list[0].references.len()
            ),
            (name, 7, 1)
        );
    }
}
