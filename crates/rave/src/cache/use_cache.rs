//! `rave cache use`: lets Nix on this machine fetch from a cache.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::client::{Client, public_keys};
use super::files::{self, Mode};
use super::nix_conf;
use super::servers::Files;
use crate::terminal::{print, say};

#[derive(Debug, Args)]
pub(crate) struct UseArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// The configuration of Nix that is changed [default: ~/.config/nix/nix.conf]
    #[arg(long, value_name = "FILE")]
    nix_conf: Option<PathBuf>,
    /// The file with passwords [default: what nix.conf says, else netrc beside it]
    #[arg(long, value_name = "FILE")]
    netrc: Option<PathBuf>,
    /// Print what would be in the files, the token left out, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A file with what it is to contain.
struct Change {
    path: PathBuf,
    text: String,
    mode: Mode,
    changed: bool,
}

pub(super) async fn run(args: &UseArgs, places: &Files) -> anyhow::Result<()> {
    let (client, config) = Client::open(places.find(&args.cache)?).await?;
    let url = client.substituter().as_str().trim_end_matches('/');
    let path = match &args.nix_conf {
        Some(path) => path.clone(),
        None => files::config_home()
            .context("there is no home directory: say --nix-conf FILE")?
            .join("nix/nix.conf"),
    };
    let path = std::path::absolute(&path)?;
    let before = files::read(&path)?;
    let (mut text, mut changed) = nix_conf::with_value(&before, "substituters", url);
    for key in public_keys(&config)? {
        let (with_key, new) = nix_conf::with_value(&text, "trusted-public-keys", &key.to_string());
        text = with_key;
        changed |= new;
    }
    let mut changes = Vec::new();
    if let (Some(token), Some(host)) = (client.token(), client.substituter().host_str()) {
        let named = nix_conf::value(&text, "netrc-file")
            .filter(|it| !it.is_empty())
            .map(PathBuf::from);
        let netrc = netrc_path(args.netrc.as_deref(), named.as_deref(), &path)?;
        if named.as_deref() != Some(&netrc) && named.is_none() {
            text = nix_conf::with_line(&text, &format!("netrc-file = {}", netrc.display()));
            changed = true;
        }
        let shown = if args.dry_run {
            "[token]"
        } else {
            token.expose()
        };
        let (entries, new) = nix_conf::with_password(&files::read(&netrc)?, host, shown);
        changes.push(Change {
            path: netrc,
            text: entries,
            mode: Mode::Private,
            changed: new,
        });
    }
    // First the password, then the cache that needs it.
    changes.push(Change {
        path,
        text,
        mode: Mode::Shared,
        changed,
    });
    changes.iter().try_for_each(|it| it.make(args.dry_run))?;
    if !args.dry_run {
        say(&format!(
            "Nix of this user fetches from {url}. A daemon must trust the user for it: see `trusted-users` in its nix.conf."
        ));
    }
    Ok(())
}

fn netrc_path(
    asked: Option<&Path>,
    named: Option<&Path>,
    nix_conf: &Path,
) -> anyhow::Result<PathBuf> {
    let beside = || nix_conf.with_file_name("netrc");
    let path = asked.or(named).map_or_else(beside, Path::to_owned);
    Ok(std::path::absolute(path)?)
}

impl Change {
    fn make(&self, dry_run: bool) -> anyhow::Result<()> {
        if dry_run {
            let secrets = self.mode == Mode::Private;
            // Other hosts' passwords are nobody's business.
            let text = match secrets {
                true => self
                    .text
                    .lines()
                    .filter(|it| it.contains("[token]"))
                    .map(|it| format!("{it}\n"))
                    .collect(),
                false => self.text.clone(),
            };
            print(&format!("# {}\n{text}\n", self.path.display()))?;
            return Ok(());
        }
        match self.changed {
            true => {
                files::replace(&self.path, &self.text, self.mode)?;
                say(&format!("Changed {}.", self.path.display()));
            }
            false => say(&format!("{} has it already.", self.path.display())),
        }
        Ok(())
    }
}
