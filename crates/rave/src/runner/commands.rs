//! `rave runner register|verify|list|unregister`: the entries of a configuration file and their accounts on servers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use rave_core::secret::Secret;
use rave_core::time::{Clock as _, SystemClock};
use rave_runner::{Registrar, Registration};
use serde_json::{Value, json};

use super::edit::{self, NewEntry};
use super::file::{self, Entry, Parsed};
use super::host_name;
use super::tls::TlsFiles;
use crate::config::Executor;
use crate::failure::{Usage, hinted};
use crate::terminal::{print, say};
use crate::wiring;

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub(crate) struct FileArgs {
    /// Configuration file, in the keys of gitlab-runner's
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "rave-runner/config.toml",
        env = "RAVE_RUNNER_CONFIG"
    )]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The server, such as `https://rave.example.org`
    #[arg(long, short, value_name = "URL", env = "CI_SERVER_URL")]
    url: String,
    /// The runner's authentication token, which the server showed when the runner was made
    #[arg(
        long,
        short,
        value_name = "TOKEN",
        env = "CI_SERVER_TOKEN",
        hide_env_values = true,
        required_unless_present = "registration_token"
    )]
    token: Option<String>,
    /// A registration token (GR1348941...), where the server still allows these: makes a runner
    #[arg(
        long,
        short,
        value_name = "TOKEN",
        env = "REGISTRATION_TOKEN",
        hide_env_values = true,
        conflicts_with = "token"
    )]
    registration_token: Option<String>,
    /// What the file calls it [default: this machine's name]
    #[arg(long, visible_alias = "description")]
    name: Option<String>,
    /// How jobs are kept from this machine; `shell` gives them all that this user can do
    #[arg(long, value_enum, default_value = "sandbox")]
    executor: Executor,
    /// With a registration token: tags, separated by commas
    #[arg(long, value_name = "TAGS")]
    tag_list: Option<String>,
    /// With a registration token: whether it takes jobs without tags
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    run_untagged: Option<bool>,
    /// With a registration token: whether other projects may not use it
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    locked: Option<bool>,
    /// With a registration token: make it paused
    #[arg(long)]
    paused: bool,
    /// With a registration token: `not_protected` or `ref_protected`
    #[arg(long, value_name = "LEVEL")]
    access_level: Option<String>,
    /// With a registration token: the longest time of a job, in seconds
    #[arg(long, value_name = "SECONDS")]
    maximum_timeout: Option<u64>,
    /// With a registration token: a note for whoever maintains it
    #[arg(long, value_name = "TEXT")]
    maintenance_note: Option<String>,
    #[command(flatten)]
    tls: TlsFiles,
    /// Accepted because gitlab-runner has it: nothing is ever asked
    #[arg(long, short, hide = true)]
    non_interactive: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Only the entry of this name
    #[arg(long, short)]
    name: Option<String>,
    /// Delete entries that the server does not know any more
    #[arg(long)]
    delete: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UnregisterArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The entry of this name
    #[arg(long, short, required_unless_present_any = ["token", "all_runners"])]
    name: Option<String>,
    /// The entry with this token
    #[arg(long, short, hide_env_values = true)]
    token: Option<String>,
    /// All entries
    #[arg(long, conflicts_with_all = ["name", "token"])]
    all_runners: bool,
    /// Delete the entry even if the server cannot be told
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Reads the text of a file; one that does not exist is empty.
fn text_of(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Reads a configuration file.
pub(super) fn load(path: &Path) -> anyhow::Result<(String, Parsed)> {
    let text = text_of(path)?;
    if text.is_empty() && !path.exists() {
        return Err(hinted(
            format!("there is no configuration file {}", path.display()),
            "make it with `rave runner register`, or name another with --config",
            None,
        ));
    }
    let name = path
        .file_name()
        .map_or_else(String::new, |it| it.to_string_lossy().into_owned());
    match file::parse(&name, &text, &environment) {
        Ok(parsed) => Ok((text, parsed)),
        Err(problems) => Err(hinted(
            format!("{} is not valid:\n  {problems}", path.display()),
            "mend these lines; nothing was changed",
            None,
        )),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the stock runner reads $NAME in its file from the environment of the process"
)]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Adds a runner to the file, once the server knows it.
pub(crate) fn register(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let path = &args.file.config;
    let text = text_of(path)?;
    if !text.is_empty() {
        load(path)?;
    }
    let name = args.name.clone().unwrap_or_else(host_name);
    let given = args.token.as_ref().or(args.registration_token.as_ref());
    let token = given.cloned().unwrap_or_default();
    // A token of this kind is the runner's own, whatever the option says.
    let own = args.token.is_some() || token.starts_with("glrt-");
    if own {
        refuse_settings(args)?;
    }
    let directory = super::directory_of(path);
    let mut config = super::bare_config(&args.url, Secret::new(token.as_str()), &directory);
    config.name = name.clone();
    config.tls = args.tls.read(Path::new(""))?;
    let registrar = registrar_of(&config)?;
    let account = wiring::runtime()?.block_on(async {
        if own {
            return registrar.verify().await;
        }
        let registration = Registration {
            description: name.clone(),
            maintenance_note: args.maintenance_note.clone(),
            tag_list: args.tag_list.clone().unwrap_or_default(),
            run_untagged: args.run_untagged.unwrap_or(args.tag_list.is_none()),
            locked: args.locked.unwrap_or(true),
            paused: args.paused,
            access_level: args.access_level.clone(),
            maximum_timeout: args.maximum_timeout,
        };
        registrar.register(&registration).await
    });
    let account = account.map_err(|error| {
        let hint = match error.status().map(|it| it.as_u16()) {
            Some(403) => "the token is not valid there: make a runner on the server's Runners page and use the token that it shows",
            Some(410) => "the server allows no registration tokens: make a runner on its Runners page and use --token",
            None => "check --url; a server whose certificate is signed by an authority of your own needs --tls-ca-file",
            _ => "check --url",
        };
        hinted("the server does not accept this runner", hint, Some(error.into()))
    })?;
    let token = match own {
        true => token,
        false => account.token.clone(),
    };
    let new = NewEntry {
        name: name.clone(),
        url: args.url.clone(),
        id: account.id,
        token,
        obtained_at: SystemClock.now(),
        expires_at: account.token_expires_at.clone(),
        executor: match args.executor {
            Executor::Sandbox => "sandbox",
            Executor::Container => "docker",
            Executor::Vm => "vm",
            Executor::Shell => "shell",
        },
        tls: args.tls.keys(),
    };
    let known = |it: &Entry| it.url == new.url && it.id == Some(new.id) && new.id != 0;
    if !text.is_empty() && load(path)?.1.file.entries.iter().any(known) {
        let text = format!(
            "{} has runner #{} of {} already",
            path.display(),
            new.id,
            new.url
        );
        return Err(hinted(
            text,
            "start it with `rave runner run`, or remove it with `rave runner unregister`",
            None,
        ));
    }
    edit::write(path, &edit::with_entry(&text, &new))?;
    if args.json {
        let shown = json!({ "id": new.id, "name": new.name, "url": new.url, "executor": new.executor, "config": path });
        print(&format!("{shown}\n"))?;
    } else {
        say(&format!(
            "Runner #{} is registered as {name:?} in {}.",
            new.id,
            path.display()
        ));
        say("Start it with `rave runner run`; one that runs already takes it up by itself.");
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person decided on the server cannot be decided again here.
fn refuse_settings(args: &RegisterArgs) -> anyhow::Result<()> {
    let given = [
        ("--tag-list", args.tag_list.is_some()),
        ("--run-untagged", args.run_untagged.is_some()),
        ("--locked", args.locked.is_some()),
        ("--paused", args.paused),
        ("--access-level", args.access_level.is_some()),
        ("--maximum-timeout", args.maximum_timeout.is_some()),
        ("--maintenance-note", args.maintenance_note.is_some()),
    ];
    match given.iter().find(|it| it.1) {
        None => Ok(()),
        Some((option, _)) => Err(Usage(hinted(
            format!("{option} goes with a registration token only"),
            "set it on the server's page of this runner",
            None,
        ))
        .into()),
    }
}

fn registrar_of(config: &rave_runner::RunnerConfig) -> anyhow::Result<Registrar> {
    super::install_tls();
    Registrar::new(config).context("cannot speak to the server")
}

fn shown(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "id": entry.id,
        "url": entry.url,
        "executor": entry.executor_name,
        "token": short(entry.token.expose()),
        "limit": entry.limit,
    })
}

/// Returns the beginning of a token: enough to tell it from others.
fn short(token: &str) -> String {
    let bare = token.strip_prefix("glrt-").unwrap_or(token);
    let prefix = &token[..token.len() - bare.len()];
    format!("{prefix}{}…", bare.chars().take(6).collect::<String>())
}

/// Prints the entries of the file.
pub(crate) fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let (_, Parsed { file, notices }) = load(&args.file.config)?;
    if args.json {
        let all: Vec<Value> = file.entries.iter().map(shown).collect();
        print(&format!("{}\n", Value::from(all)))?;
        return Ok(ExitCode::SUCCESS);
    }
    for notice in notices {
        say(&format!("note: {notice}"));
    }
    if file.entries.is_empty() {
        say("No runners. Add one with `rave runner register`.");
    }
    let width = file.entries.iter().map(|it| it.name.chars().count()).max();
    let width = width.unwrap_or_default();
    for it in &file.entries {
        let token = short(it.token.expose());
        print(&format!(
            "{:<width$}  {:<8}  {token:<14}  {}\n",
            it.name, it.executor_name, it.url
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the servers whether they know the runners of the file.
pub(crate) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let path = &args.file.config;
    let (mut text, Parsed { file, .. }) = load(path)?;
    let directory = super::directory_of(path);
    let runtime = wiring::runtime()?;
    let (mut results, mut removed, mut healthy, mut found) = (Vec::new(), 0, true, false);
    for (index, entry) in file.entries.iter().enumerate() {
        if args.name.as_ref().is_some_and(|it| *it != entry.name) {
            continue;
        }
        found = true;
        let registrar = registrar_of(&super::config_of(entry, &directory, &file)?)?;
        let (state, why) = match runtime.block_on(registrar.verify()) {
            Ok(_) => ("alive", None),
            Err(error) if error.status().is_some_and(|it| it == 403) => (
                "removed",
                Some("the server does not know the token".to_owned()),
            ),
            Err(error) => ("unknown", Some(rave_http::error::chain(&error))),
        };
        healthy &= state == "alive";
        if state == "removed" && args.delete {
            text = edit::without_entry(&text, index - removed).with_context(|| {
                format!(
                    "cannot find the entry {:?} in {}",
                    entry.name,
                    path.display()
                )
            })?;
            removed += 1;
        }
        if args.json {
            let mut value = shown(entry);
            value["state"] = state.into();
            value["reason"] = why.into();
            results.push(value);
        } else {
            let why = why.map(|it| format!(": {it}")).unwrap_or_default();
            print(&format!("{} {} ({}){why}\n", state, entry.name, entry.url))?;
        }
    }
    if removed > 0 {
        edit::write(path, &text)?;
        say(&format!(
            "Deleted {removed} of them from {}.",
            path.display()
        ));
    }
    if args.json {
        print(&format!("{}\n", Value::from(results)))?;
    }
    if !found {
        return Err(no_entry(args.name.as_deref(), path));
    }
    Ok(ExitCode::from(u8::from(!healthy)))
}

fn no_entry(name: Option<&str>, path: &Path) -> anyhow::Error {
    let text = match name {
        Some(name) => format!("{} has no runner {name:?}", path.display()),
        None => format!("{} has no such runner", path.display()),
    };
    hinted(text, "`rave runner list` shows those that it has", None)
}

/// Takes runners off their servers and out of the file.
pub(crate) fn unregister(args: &UnregisterArgs) -> anyhow::Result<ExitCode> {
    let path = &args.file.config;
    let (mut text, Parsed { file, .. }) = load(path)?;
    let directory = super::directory_of(path);
    let runtime = wiring::runtime()?;
    let (mut gone, mut failed) = (Vec::new(), None);
    for (index, entry) in file.entries.iter().enumerate() {
        let named = args.name.as_ref().is_some_and(|it| *it == entry.name);
        let meant = args
            .token
            .as_ref()
            .is_some_and(|it| it == entry.token.expose());
        if !(args.all_runners || named || meant) {
            continue;
        }
        let registrar = registrar_of(&super::config_of(entry, &directory, &file)?)?;
        match runtime.block_on(registrar.unregister()) {
            Ok(()) => {}
            // Who is not known there has gone.
            Err(error) if error.status().is_some_and(|it| it == 403 || it == 404) => {}
            Err(error) if args.force => {
                say(&format!(
                    "{}: {}",
                    entry.name,
                    rave_http::error::chain(&error)
                ));
            }
            Err(error) => {
                failed = Some((entry.name.clone(), error));
                break;
            }
        }
        text = edit::without_entry(&text, index - gone.len()).with_context(|| {
            format!(
                "cannot find the entry {:?} in {}",
                entry.name,
                path.display()
            )
        })?;
        gone.push(entry);
    }
    if !gone.is_empty() {
        edit::write(path, &text)?;
    }
    if args.json {
        let all: Vec<Value> = gone.iter().map(|it| shown(it)).collect();
        print(&format!("{}\n", Value::from(all)))?;
    } else {
        for it in &gone {
            say(&format!("Unregistered {:?} from {}.", it.name, it.url));
        }
    }
    if let Some((name, error)) = failed {
        let hint =
            "try again when the server answers, or delete the entry all the same with --force";
        return Err(hinted(
            format!("cannot unregister {name:?}"),
            hint,
            Some(error.into()),
        ));
    }
    if gone.is_empty() {
        return Err(no_entry(args.name.as_deref(), path));
    }
    Ok(ExitCode::SUCCESS)
}
