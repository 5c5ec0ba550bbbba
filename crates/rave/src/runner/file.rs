//! A runner's configuration file, in the stock runner's own keys: what it says, and what of it is not carried out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_runner::PullPolicy;

use super::table::{Lines, Table};
use super::tls::TlsFiles;
use crate::config::Executor;

/// What the file says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File {
    /// How many jobs run at once, of all runners together.
    pub(crate) concurrent: usize,
    pub(crate) check_interval: Duration,
    /// Where metrics are served.
    pub(crate) listen_address: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) json_log: bool,
    pub(crate) entries: Vec<Entry>,
}

/// One `[[runners]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) id: Option<i64>,
    pub(crate) token: Secret,
    pub(crate) token_obtained_at: Option<Timestamp>,
    pub(crate) token_expires_at: Option<Timestamp>,
    pub(crate) executor: Executor,
    /// As the file names it.
    pub(crate) executor_name: String,
    /// The most jobs at once. `None`: as many as the process runs.
    pub(crate) limit: Option<usize>,
    pub(crate) output_limit_bytes: Option<u64>,
    pub(crate) builds_dir: Option<PathBuf>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) clone_url: Option<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) tls: TlsFiles,
    pub(crate) pre_get_sources_script: Option<String>,
    pub(crate) post_get_sources_script: Option<String>,
    pub(crate) pre_build_script: Option<String>,
    pub(crate) post_build_script: Option<String>,
    pub(crate) unhealthy_interval: Duration,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) network: bool,
    pub(crate) read_only_paths: Vec<PathBuf>,
    pub(crate) custom_build_dir: Option<bool>,
    pub(crate) images: Images,
    pub(crate) container: Container,
}

/// What containers get of the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Container {
    /// The engine's address. `None`: as in `DOCKER_HOST`.
    pub(crate) host: Option<String>,
    pub(crate) network: Option<String>,
    pub(crate) privileged: bool,
    pub(crate) services_privileged: bool,
    pub(crate) volumes: Vec<String>,
    pub(crate) devices: Vec<String>,
}

/// Which images jobs may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Images {
    /// For jobs that name none.
    pub(crate) image: Option<String>,
    pub(crate) pull_policies: Vec<PullPolicy>,
    pub(crate) allowed_pull_policies: Vec<PullPolicy>,
    pub(crate) allowed_images: Vec<String>,
    pub(crate) allowed_services: Vec<String>,
}

impl Entry {
    /// Returns what tells the entry from others of the file, also after its token or its name changed.
    pub(crate) fn key(&self) -> String {
        match self.id {
            Some(id) => format!("{}#{id}", self.url),
            None => format!("{}/{}", self.url, self.token.expose()),
        }
    }
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) file: File,
    /// What is not carried out, each with its line.
    pub(crate) notices: Vec<String>,
}

/// The volume that the stock runner keeps caches in; here they are kept outside of containers.
const CACHE: &str = "/cache";

/// Why keys of the stock runner mean nothing here.
const WHY: [(&str, &str); 21] = [
    (
        "connection_max_age",
        "connections are closed when they are idle",
    ),
    (
        "shutdown_timeout",
        "a second signal gives up running jobs at once",
    ),
    ("sentry_dsn", "errors are in the log"),
    ("user", "start the program as this user"),
    ("session_server", "there are no interactive terminals"),
    (
        "request_concurrency",
        "the next request is sent the moment a job arrives, so one is enough",
    ),
    (
        "strict_check_interval",
        "the next request is sent the moment a job arrives",
    ),
    (
        "unhealthy_requests_limit",
        "three refusals in a row pause the runner",
    ),
    (
        "job_status_final_update_retry_limit",
        "results are reported until the server takes them",
    ),
    ("shell", "scripts run in bash, or in sh where there is none"),
    (
        "custom_build_dir",
        "working copies stay where the runner keeps them",
    ),
    ("cache", "caches are kept on this machine"),
    ("artifact", "uploads have the protocol's own limits of time"),
    ("referees", "the metrics of jobs are the server's"),
    ("feature_flags", "there are none of these"),
    ("kubernetes", "this executor does not exist here"),
    ("machine", "this executor does not exist here"),
    ("autoscaler", "this executor does not exist here"),
    ("ssh", "this executor does not exist here"),
    ("custom", "this executor does not exist here"),
    ("labels", "labels are not sent"),
];

fn why(key: &str) -> &'static str {
    let found = WHY.iter().find(|it| it.0 == key);
    found.map_or("it has no meaning here", |it| it.1)
}

/// Reads a file. `environment` gives the values of `$NAME` in addresses and tokens.
///
/// # Errors
/// With everything that is wrong with it, each with its line.
pub(crate) fn parse(
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, String> {
    let mut lines = Lines::new(name, text);
    let Some(mut root) = lines.parse() else {
        return Err(lines.problems());
    };
    let concurrent = root.count(&mut lines, "concurrent").unwrap_or(1).max(1);
    let interval = root.count(&mut lines, "check_interval").unwrap_or(0);
    let log_format = root.text(&mut lines, "log_format");
    let mut file = File {
        concurrent,
        check_interval: Duration::from_secs(match interval {
            0 => 3,
            secs => secs as u64,
        }),
        listen_address: root.text(&mut lines, "listen_address"),
        log_level: root.text(&mut lines, "log_level"),
        json_log: log_format.as_deref() == Some("json"),
        entries: Vec::new(),
    };
    let tables = root.tables(&mut lines, "runners");
    // What `register` of the stock runner writes though it says nothing.
    root.skip_if(&mut lines, "shutdown_timeout", "0");
    root.skip_if(&mut lines, "connection_max_age", "15m0s");
    root.skip(&["session_server"]);
    root.rest(&mut lines, why);
    for table in tables {
        file.entries.extend(entry(&mut lines, table, environment));
    }
    let mut seen: Vec<String> = Vec::new();
    for it in &file.entries {
        if seen.contains(&it.key()) {
            lines.complain(
                0,
                format!("two [[runners]] are the same runner of {}", it.url),
            );
        }
        seen.push(it.key());
    }
    if lines.has_problems() {
        return Err(lines.problems());
    }
    Ok(Parsed {
        file,
        notices: lines.notices(),
    })
}

fn entry(
    lines: &mut Lines<'_>,
    mut table: Table<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<Entry> {
    let expanded = |text: Option<String>| text.map(|it| expand(&it, environment));
    let url = expanded(table.need_text(lines, "url"))?;
    let token = expanded(table.need_text(lines, "token"))?;
    let at = table.offset("executor");
    let executor_name = table.need_text(lines, "executor")?;
    let executor = executor_of(lines, at, &executor_name);
    let count = |table: &mut Table<'_>, lines: &mut Lines<'_>, key: &str| {
        table.count(lines, key).filter(|it| *it > 0)
    };
    let id = count(&mut table, lines, "id").and_then(|it| i64::try_from(it).ok());
    let mut entry = Entry {
        name: table.text(lines, "name").unwrap_or_default(),
        url,
        id,
        token: Secret::new(token),
        token_obtained_at: table.time(lines, "token_obtained_at"),
        token_expires_at: table.time(lines, "token_expires_at"),
        executor,
        executor_name,
        limit: count(&mut table, lines, "limit"),
        output_limit_bytes: count(&mut table, lines, "output_limit").map(|it| it as u64 * 1024),
        builds_dir: table.text(lines, "builds_dir").map(PathBuf::from),
        cache_dir: table.text(lines, "cache_dir").map(PathBuf::from),
        clone_url: table.text(lines, "clone_url"),
        environment: BTreeMap::new(),
        tls: TlsFiles {
            ca: table.text(lines, "tls-ca-file").map(PathBuf::from),
            cert: table.text(lines, "tls-cert-file").map(PathBuf::from),
            key: table.text(lines, "tls-key-file").map(PathBuf::from),
        },
        pre_get_sources_script: table
            .text(lines, "pre_get_sources_script")
            .or_else(|| table.text(lines, "pre_clone_script")),
        post_get_sources_script: table
            .text(lines, "post_get_sources_script")
            .or_else(|| table.text(lines, "post_clone_script")),
        pre_build_script: table.text(lines, "pre_build_script"),
        post_build_script: table.text(lines, "post_build_script"),
        unhealthy_interval: table
            .duration(lines, "unhealthy_interval")
            .unwrap_or(Duration::from_secs(3600)),
        memory_bytes: None,
        cpus: None,
        network: true,
        read_only_paths: Vec::new(),
        custom_build_dir: None,
        images: Images::default(),
        container: Container::default(),
    };
    let at = table.offset("environment");
    for pair in table.list(lines, "environment") {
        match pair.split_once('=') {
            Some((key, value)) if is_name(key) => {
                entry.environment.insert(key.to_owned(), value.to_owned());
            }
            _ => lines.complain(
                at,
                format!("runners.environment: {pair:?} is not NAME=value"),
            ),
        }
    }
    for name in ["docker", "sandbox"] {
        for mut table in table.tables(lines, name) {
            limits(lines, &mut table, &mut entry);
            entry.images = images(lines, &mut table);
            table.rest(lines, docker_why);
        }
    }
    // Empty tables of these are what `register` of the stock runner writes.
    table.skip_empty(&["cache", "custom_build_dir", "feature_flags", "artifact"]);
    for mut it in table.tables(lines, "custom_build_dir") {
        entry.custom_build_dir = it.flag(lines, "enabled");
        it.rest(lines, why);
    }
    for mut cache in table.tables(lines, "cache") {
        cache.skip_empty(&["s3", "gcs", "azure"]);
        cache.skip_if(lines, "MaxUploadedArchiveSize", "0");
        cache.rest(lines, |_| "caches are kept on this machine");
    }
    table.rest(lines, why);
    Some(entry)
}

/// Which executor carries out what the stock runner's one stands for.
fn executor_of(lines: &mut Lines<'_>, at: usize, name: &str) -> Executor {
    match name {
        "shell" => return Executor::Shell,
        "sandbox" => {}
        "docker" | "container" => return Executor::Container,
        "vm" => return Executor::Vm,
        _ => lines.complain(
            at,
            format!("runners.executor: {name:?} does not exist here; there are \"sandbox\", \"docker\" and \"shell\""),
        ),
    }
    Executor::Sandbox
}

/// Reads what containers and the sandbox have in common.
fn limits(lines: &mut Lines<'_>, table: &mut Table<'_>, entry: &mut Entry) {
    let at = table.offset("memory");
    if let Some(text) = table.text(lines, "memory").filter(|it| !it.is_empty()) {
        entry.memory_bytes = bytes(&text);
        if entry.memory_bytes.is_none() {
            lines.complain(at, format!("memory: {text:?} is no size such as \"2g\""));
        }
    }
    let at = table.offset("cpus");
    if let Some(text) = table.text(lines, "cpus").filter(|it| !it.is_empty()) {
        entry.cpus = text
            .parse()
            .ok()
            .filter(|it: &f64| it.is_finite() && *it > 0.0);
        if entry.cpus.is_none() {
            lines.complain(at, format!("cpus: {text:?} is no number such as \"1.5\""));
        }
    }
    if entry.executor == Executor::Container {
        container(lines, table, &mut entry.container);
    } else {
        entry.network = !table.text_is(lines, "network_mode", "none");
        let at = table.offset("volumes");
        for volume in table.list(lines, "volumes") {
            match volume.split(':').collect::<Vec<_>>().as_slice() {
                [CACHE] => {}
                [from, to, "ro"] if from == to => entry.read_only_paths.push(PathBuf::from(from)),
                _ => lines.note(
                    at,
                    format!("volumes: {volume:?} is left out; the sandbox has paths of this machine, read-only and at the same place (\"/x:/x:ro\")"),
                ),
            }
        }
    }
    table.skip_if(lines, "volumes_from", "[]");
    table.skip_if(lines, "shm_size", "0");
    table.skip_if(lines, "network_mtu", "0");
    for key in [
        "privileged",
        "disable_entrypoint_overwrite",
        "oom_kill_disable",
        "disable_cache",
        "tls_verify",
    ] {
        table.skip_if(lines, key, "false");
    }
}

/// Reads what containers get of the machine.
fn container(lines: &mut Lines<'_>, table: &mut Table<'_>, container: &mut Container) {
    let given = |it: &String| !it.is_empty();
    container.host = table.text(lines, "host").filter(given);
    container.network = table.text(lines, "network_mode").filter(given);
    container.privileged = table.flag(lines, "privileged").unwrap_or(false);
    let services = table.flag(lines, "services_privileged");
    container.services_privileged = services.unwrap_or(container.privileged);
    container.volumes = table.list(lines, "volumes");
    container.volumes.retain(|it| it != CACHE);
    container.devices = table.list(lines, "devices");
}

/// Reads which images jobs may use.
fn images(lines: &mut Lines<'_>, table: &mut Table<'_>) -> Images {
    let mut policies = |table: &mut Table<'_>, key: &str| {
        let at = table.offset(key);
        let names = table.texts(lines, key);
        let known: Vec<PullPolicy> = names
            .iter()
            .filter_map(|it| PullPolicy::parse(it))
            .collect();
        if known.len() < names.len() {
            lines.complain(
                at,
                format!("{key}: there are \"always\", \"if-not-present\" and \"never\""),
            );
        }
        known
    };
    Images {
        pull_policies: policies(table, "pull_policy"),
        allowed_pull_policies: policies(table, "allowed_pull_policies"),
        image: table.text(lines, "image").filter(|it| !it.is_empty()),
        allowed_images: table.list(lines, "allowed_images"),
        allowed_services: table.list(lines, "allowed_services"),
    }
}

fn docker_why(key: &str) -> &'static str {
    match key {
        "helper_image" | "helper_image_flavor" => "the runner needs no image of its own",
        "privileged" => "jobs in the sandbox never have more rights",
        _ => "there is no such setting here",
    }
}

/// Reads a size with one of Docker's units.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let digits = text.trim_end_matches(['k', 'm', 'g', 't']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1_u64 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
        && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

/// Puts values of the environment in place of `$NAME` and `${NAME}`; what is not set is empty.
fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|it| it.split_once('}')) {
            Some(braced) => braced,
            None => {
                let end = rest
                    .find(|it: char| !(it.is_ascii_alphanumeric() || it == '_'))
                    .unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        if name.is_empty() {
            out.push('$');
        } else {
            out.push_str(&environment(name).unwrap_or_default());
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Parsed, String> {
        let environment = |name: &str| (name == "TOKEN").then(|| "glrt-from-env".to_owned());
        parse("config.toml", text, &environment)
    }

    /// As `gitlab-runner register` writes it.
    const STOCK: &str = r#"concurrent = 4
check_interval = 0
connection_max_age = "15m0s"
shutdown_timeout = 0

[session_server]
  session_timeout = 1800

[[runners]]
  name = "basement"
  url = "https://rave.example.org/"
  id = 7
  token = "${TOKEN}"
  token_obtained_at = 2026-01-02T03:04:05Z
  token_expires_at = 0001-01-01T00:00:00Z
  executor = "shell"
  limit = 2
  environment = ["GIT_DEPTH=1", "A=b=c"]
  pre_build_script = """
echo [[runners]]
"""
  [runners.custom_build_dir]
  [runners.cache]
    MaxUploadedArchiveSize = 0
    [runners.cache.s3]
    [runners.cache.gcs]
    [runners.cache.azure]

[[runners]]
  name = "in containers"
  url = "http://127.0.0.1:8080"
  token = "t"
  executor = "docker"
  request_concurrency = 3
  [runners.docker]
    image = "debian:stable"
    pull_policy = "if-not-present"
    privileged = false
    memory = "2g"
    cpus = "1.5"
    volumes = ["/cache", "/nix/store:/nix/store:ro", "/data:/data"]
    shm_size = 0
    dns = ["10.0.0.1"]
"#;

    #[test]
    fn a_file_of_the_stock_runner_is_read_and_what_is_left_out_is_said() {
        let Parsed { file, notices } = read(STOCK).expect("it is right");
        assert_eq!((file.concurrent, file.entries.len()), (4, 2));
        assert_eq!(file.check_interval, Duration::from_secs(3));
        let [first, second] = &file.entries[..] else {
            panic!("two entries");
        };
        assert_eq!(first.token.expose(), "glrt-from-env");
        assert_eq!((first.id, first.limit), (Some(7), Some(2)));
        assert_eq!(first.environment["A"], "b=c");
        assert_eq!(first.token_expires_at, None, "that time stands for never");
        assert!(first.token_obtained_at.is_some());
        assert_eq!(
            first.pre_build_script.as_deref(),
            Some("echo [[runners]]\n")
        );
        assert_eq!(second.memory_bytes, Some(2 << 30));
        assert_eq!(second.cpus, Some(1.5));
        assert_eq!(second.images.image.as_deref(), Some("debian:stable"));
        assert_eq!(second.images.pull_policies, [PullPolicy::IfNotPresent]);
        assert_eq!(second.executor, Executor::Container);
        assert_eq!(
            second.container.volumes,
            ["/nix/store:/nix/store:ro", "/data:/data"]
        );
        assert_eq!(
            notices,
            [
                "config.toml:34: runners.request_concurrency is left out: the next request is sent the moment a job arrives, so one is enough",
                "config.toml:43: runners.docker.dns is left out: there is no such setting here",
            ]
        );
    }

    #[test]
    fn the_sandbox_takes_of_volumes_what_it_has() {
        let text = "[[runners]]\nurl = \"http://x\"\ntoken = \"t\"\nexecutor = \"sandbox\"\n[runners.sandbox]\nnetwork_mode = \"none\"\nvolumes = [\"/cache\", \"/nix/store:/nix/store:ro\", \"/data:/data\"]\n";
        let Parsed { file, notices } = read(text).expect("it is right");
        let entry = &file.entries[0];
        assert!(!entry.network);
        assert_eq!(entry.read_only_paths, [PathBuf::from("/nix/store")]);
        let [notice] = &notices[..] else {
            panic!("one notice: {notices:?}");
        };
        assert!(
            notice.starts_with("config.toml:7: volumes: \"/data:/data\" is left out"),
            "{notice}"
        );
    }

    #[test]
    fn all_mistakes_are_named_with_their_lines() {
        let text = "concurrent = \"two\"\n[[runners]]\nurl = 3\ntoken = \"t\"\n[[runners]]\nurl = \"http://x\"\ntoken = \"t\"\nexecutor = \"kubernetes\"\n";
        let problems = read(text).expect_err("it is wrong");
        for line in [
            "config.toml:1: concurrent must be a whole number",
            "config.toml:3: runners.url must be a text",
            "config.toml:8: runners.executor: \"kubernetes\" does not exist here",
        ] {
            assert!(problems.contains(line), "no {line:?} in {problems}");
        }
        assert!(
            read("[[runners")
                .expect_err("no TOML")
                .contains("config.toml:1:")
        );
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("512m", Some(512 << 20)),
            ("1gb", Some(1 << 30)),
            ("7", Some(7)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
