//! The configuration: one TOML file over documented defaults, read into types with all problems reported at once.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rave_ci_lang::Limits;
use rave_core::secret::Secret;
use rave_store::{DatabaseUrl, Durability};

pub(crate) mod bucket;
mod cache;
mod reader;
mod runner;

pub(crate) use cache::Cache;
use reader::Reader;
pub(crate) use runner::{Executor, Runner};

/// The file of all keys with their defaults, which is also what is read first.
pub(crate) const DEFAULTS: &str = include_str!("../config.default.toml");

/// The whole configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    /// Without a trailing slash. `None` until the listener's port is known.
    pub(crate) external_url: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) database: Database,
    pub(crate) log: Log,
    /// Where objects are; `None` is in the data directory.
    pub(crate) blobs: Option<bucket::Bucket>,
    pub(crate) ci: Ci,
    pub(crate) cache: Cache,
    pub(crate) runner: Runner,
}

/// Where metadata lives.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// `None` is SQLite in the data directory.
    pub(crate) url: Option<Secret>,
    pub(crate) durability: Durability,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) json: bool,
    pub(crate) level: String,
}

/// Continuous integration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ci {
    pub(crate) job_timeout_secs: u64,
    pub(crate) artifact_expiry_days: u64,
    pub(crate) artifact_limit_bytes: u64,
    pub(crate) lost_runner_secs: u64,
    pub(crate) include_private_addresses: bool,
    pub(crate) limits: Limits,
    pub(crate) runner_registration: bool,
    pub(crate) runner_token_days: Option<u64>,
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) listen: Option<String>,
    pub(crate) external_url: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) database_url: Option<String>,
    pub(crate) log_format: Option<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not valid:{}", list(.0))]
pub(crate) struct ConfigError(Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `FILE:LINE:COLUMN`, or the name of a command-line option.
    pub(crate) place: String,
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|it| format!("\n  {it}")).collect()
}

/// Reads the configuration file, if any, over the defaults, and the command line over both.
///
/// # Errors
/// With all problems at once.
pub(crate) fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let problem = |place: String, text: String| ConfigError(vec![Problem { place, text }]);
    let mut reader = Reader::new(DEFAULTS).map_err(|it| problem("defaults".into(), it))?;
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| problem(name.clone(), format!("cannot be read: {error}")))?;
        reader.overlay(&name, &text);
    }
    resolve(reader, overrides)
}

fn resolve(mut reader: Reader, overrides: &Overrides) -> Result<Config, ConfigError> {
    let text = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
    if let Some(listen) = &overrides.listen {
        reader.set("server", "listen", "--listen", listen);
    }
    if let Some(url) = &overrides.external_url {
        reader.set("server", "external_url", "--external-url", url);
    }
    if let Some(format) = &overrides.log_format {
        reader.set("log", "format", "--log-format", format);
    }
    let listen = reader.parse("server", "listen", |it| {
        it.parse()
            .map_err(|_| "is not an address such as \"127.0.0.1:8080\"".to_owned())
    });
    let external_url = reader.parse("server", "external_url", external_url);
    let data_dir = overrides
        .data_dir
        .clone()
        .or_else(|| reader.text("data", "dir").map(PathBuf::from));
    let url = reader.text("database", "url");
    let url_file = reader.parse("database", "url_file", secret_file);
    let url = text(&overrides.database_url)
        .or(text(&url))
        .map(Secret::new)
        .or(url_file.flatten());
    if let Some(url) = &url
        && let Err(error) = DatabaseUrl::parse(url.expose())
    {
        reader.complain("database", "url", error.to_string());
    }
    let durability = reader.choice(
        "database",
        "durability",
        &[("full", Durability::Full), ("normal", Durability::Normal)],
    );
    let json = reader.choice("log", "format", &[("human", false), ("json", true)]);
    let level = reader.text("log", "level");
    let mut limits = Limits::default();
    for key in Limits::SETTINGS {
        let value = usize::try_from(reader.count("ci", key, 1)).unwrap_or(usize::MAX);
        limits.set(key, value);
    }
    let some = |it: u64| (it > 0).then_some(it);
    let ci = Ci {
        limits,
        job_timeout_secs: reader.count("ci", "job_timeout_secs", 60),
        artifact_expiry_days: reader.count("ci", "artifact_expiry_days", 1),
        artifact_limit_bytes: reader.count("ci", "artifact_limit_bytes", 1),
        lost_runner_secs: reader.count("ci", "lost_runner_secs", 15),
        include_private_addresses: reader
            .flag("ci", "include_private_addresses")
            .unwrap_or_default(),
        runner_registration: reader.flag("ci", "runner_registration").unwrap_or_default(),
        runner_token_days: some(reader.count("ci", "runner_token_days", 0)),
    };
    let blobs = bucket::Bucket::read(&mut reader, "blobs");
    let cache = Cache::read(&mut reader);
    let runner = Runner::read(&mut reader);
    let problems = reader.finish();
    match (listen, external_url, data_dir, durability, json, level) {
        (
            Some(listen),
            Some(external_url),
            Some(data_dir),
            Some(durability),
            Some(json),
            Some(level),
        ) if problems.is_empty() => {
            let database = Database { url, durability };
            Ok(Config {
                listen,
                external_url,
                data_dir,
                database,
                log: Log { json, level },
                blobs,
                ci,
                cache,
                runner,
            })
        }
        _ => Err(ConfigError(problems)),
    }
}

fn external_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let well_formed = |it: &str| {
        !it.is_empty() && !it.starts_with('/') && !it.contains([' ', '?', '#', '@', '"', '<'])
    };
    match rest {
        Some(rest) if well_formed(rest) => Ok(Some(text.trim_end_matches('/').to_owned())),
        _ => Err("is not a URL such as \"https://rave.example.org\"".to_owned()),
    }
}

pub(super) fn secret_file(path: &str) -> Result<Option<Secret>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("names {path}, which cannot be read: {error}"))?;
    Ok(Some(Secret::new(text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        let mut reader = Reader::new(DEFAULTS).expect("the defaults are valid");
        reader.overlay("rave.toml", text);
        resolve(reader, &Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_a_valid_configuration() {
        let config = check("").expect("valid");
        assert_eq!(
            (config.listen.to_string(), config.external_url),
            ("127.0.0.1:8080".into(), None)
        );
        assert_eq!(config.runner.executor, Executor::Sandbox);
        assert!(config.runner.concurrency >= 2 && config.database.url.is_none());
    }

    #[test]
    fn limits_of_the_language_are_settings() {
        let config = check("").expect("valid");
        assert_eq!(config.ci.limits, Limits::default());
        let config = check("[ci]\nmax_jobs = 7\n").expect("valid");
        assert_eq!(
            config.ci.limits,
            Limits {
                jobs: 7,
                ..Limits::default()
            }
        );
    }

    #[test]
    fn all_problems_are_reported_at_once_with_their_lines() {
        let text = "[server]\nlisten = 8080\nexternal_url = \"rave.example.org\"\n\n[runer]\n[runner]\nexecuter = \"shell\"\nnetwork = \"off\"\nconcurrency = -1\n";
        insta::assert_snapshot!(check(text).expect_err("invalid"), @r#"
        the configuration is not valid:
          rave.toml:2:10: server.listen must be a string
          rave.toml:3:16: server.external_url is not a URL such as "https://rave.example.org"
          rave.toml:5:2: unknown section runer; did you mean runner?
          rave.toml:7:1: unknown key runner.executer; did you mean runner.executor?
          rave.toml:8:11: runner.network must be one of "host", "none", "own"
          rave.toml:9:15: runner.concurrency must be a whole number, at least 0
        "#);
    }

    #[test]
    fn sections_within_sections_have_their_places_too() {
        let text = "[runner.container]\nhots = \"x\"\nprivileged = 1\n[runner.contaner]\nhost = \"x\"\n[runner.images]\npull_policies = [\"sometimes\"]\n";
        insta::assert_snapshot!(check(text).expect_err("invalid"));
        let text = "[runner]\nimages = 1\n";
        insta::assert_snapshot!(check(text).expect_err("invalid"));
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = check("[server]\nlisten = \n").expect_err("invalid");
        assert!(error.contains("rave.toml:2:"), "{error}");
    }

    #[test]
    fn a_secret_does_not_print() {
        let config = check("[database]\nurl = \"postgres://rave:hunter22@localhost/rave\"\n")
            .expect("valid");
        assert!(!format!("{config:?}").contains("hunter22"));
    }
}
