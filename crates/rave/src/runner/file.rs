//! A runner's configuration file, in the stock runner's own keys: what it says, and what of it is not carried out.

mod cache;
mod entry;
mod policy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_runner::{PullPolicy, S3Cache, SandboxPolicy, VmPolicy};

use super::table::Lines;
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
    /// How many requests for a job are open at once.
    pub(crate) request_concurrency: usize,
    pub(crate) sandbox: SandboxPolicy,
    /// Without the sandbox around the machines.
    pub(crate) vm: VmPolicy,
    /// Caches in a bucket. `None`: on this machine.
    pub(crate) cache: Option<S3Cache>,
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

/// Why keys of the stock runner mean nothing here.
const WHY: [(&str, &str); 20] = [
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
    root.skip_if("shutdown_timeout", "0");
    root.skip_if("connection_max_age", "15m0s");
    root.skip(&["session_server"]);
    root.rest(&mut lines, why);
    for table in tables {
        file.entries
            .extend(entry::read(&mut lines, table, environment));
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

#[cfg(test)]
mod tests {
    use super::*;
    use rave_runner::{Accelerator, Network};

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
        assert_eq!((second.cpus, second.request_concurrency), (Some(1.5), 3));
        assert_eq!((&first.cache, first.request_concurrency), (&None, 1));
        assert_eq!(second.images.image.as_deref(), Some("debian:stable"));
        assert_eq!(second.images.pull_policies, [PullPolicy::IfNotPresent]);
        assert_eq!(second.executor, Executor::Container);
        assert_eq!(
            second.container.volumes,
            ["/nix/store:/nix/store:ro", "/data:/data"]
        );
        assert_eq!(
            notices,
            ["config.toml:43: runners.docker.dns is left out: there is no such setting here",]
        );
    }

    #[test]
    fn the_sandbox_takes_of_volumes_what_it_has() {
        let text = "[[runners]]\nurl = \"http://x\"\ntoken = \"t\"\nexecutor = \"sandbox\"\n[runners.sandbox]\nnetwork_mode = \"none\"\nvolumes = [\"/cache\", \"/nix/store:/nix/store:ro\", \"/data:/data\"]\n";
        let Parsed { file, notices } = read(text).expect("it is right");
        let entry = &file.entries[0];
        assert_eq!(entry.sandbox.network, Network::None);
        assert_eq!(entry.sandbox.read_only_paths, [PathBuf::from("/nix/store")]);
        let [notice] = &notices[..] else {
            panic!("one notice: {notices:?}");
        };
        assert!(
            notice.starts_with("config.toml:7: volumes: \"/data:/data\" is left out"),
            "{notice}"
        );
    }

    #[test]
    fn caches_are_in_the_bucket_that_the_file_names() {
        let entry = |cache: &str| {
            let text = "[[runners]]\nurl = \"http://x\"\ntoken = \"t\"\nexecutor = \"shell\"\n";
            let mut parsed = read(&format!("{text}{cache}"))?;
            Ok::<_, String>((parsed.file.entries.remove(0).cache, parsed.notices))
        };
        let bucket = "[runners.cache]\nType = \"s3\"\nPath = \"ci\"\nShared = true\nMaxUploadedArchiveSize = 0\n[runners.cache.s3]\nServerAddress = \"minio:9000\"\nAccessKey = \"a\"\nSecretKey = \"$TOKEN\"\nBucketName = \"b\"\nBucketLocation = \"\"\nInsecure = true\n[runners.cache.gcs]\n";
        let expected = S3Cache {
            server_address: "minio:9000".to_owned(),
            insecure: true,
            bucket: "b".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "a".to_owned(),
            secret_key: Secret::new("glrt-from-env"),
            session_token: None,
            path: "ci".to_owned(),
            shared: true,
            path_style: None,
        };
        assert_eq!(entry(bucket), Ok((Some(expected), Vec::new())));
        let missing = entry("[runners.cache]\nType = \"s3\"\n").expect_err("no bucket");
        assert!(missing.contains("runners.cache.s3 is missing"), "{missing}");
        let missing = entry(
            "[runners.cache]\nType = \"s3\"\n[runners.cache.s3]\nBucketName = \"b\"\nAuthenticationType = \"iam\"\n",
        );
        let missing = missing.expect_err("no key");
        assert!(
            missing.contains("config.toml:7: runners.cache.s3.AccessKey is missing"),
            "{missing}"
        );
        let (other, notices) = entry("[runners.cache]\nType = \"gcs\"\n").expect("read");
        assert_eq!(other, None);
        assert!(
            notices[0].contains("runners.cache.Type is left out"),
            "{notices:?}"
        );
    }

    #[test]
    fn machines_and_the_sandbox_have_their_own_tables() {
        let text = "[[runners]]\nurl = \"http://x\"\ntoken = \"t\"\nexecutor = \"vm\"\n[runners.vm]\nkernel = \"/k\"\nmodules = \"/m\"\nmemory = \"3g\"\ncpus = 2\ndisk = \"0\"\naccelerator = \"tcg\"\n[runners.sandbox]\nnetwork_mode = \"own\"\nwait_for_services_timeout = 5\nnested_namespaces = true\nimage_limit = \"1g\"\n";
        let Parsed { file, notices } = read(text).expect("it is right");
        let Entry { vm, sandbox, .. } = &file.entries[0];
        let expected = VmPolicy {
            kernel: Some("/k".into()),
            modules: Some("/m".into()),
            memory_bytes: Some(3 << 30),
            cpus: Some(2),
            disk_bytes: None,
            accelerator: Some(Accelerator::Tcg),
            ..VmPolicy::default()
        };
        assert_eq!((vm, notices.len()), (&expected, 0), "{notices:?}");
        let expected = SandboxPolicy {
            network: Network::Own,
            services_timeout: Duration::from_secs(5),
            nested_namespaces: true,
            image_limit_bytes: 1 << 30,
            ..SandboxPolicy::default()
        };
        assert_eq!(sandbox, &expected);
        let text = text
            .replace("\"tcg\"", "\"xen\"")
            .replace("timeout = 5", "timeout = -1");
        let problems = read(&text).expect_err("it is wrong");
        assert!(
            problems.contains("config.toml:11: runners.vm.accelerator"),
            "{problems}"
        );
        assert!(!problems.contains("timeout"), "{problems}");
    }

    #[test]
    fn all_mistakes_are_named_with_their_lines() {
        let text = "concurrent = \"two\"\n[[runners]]\nurl = 3\ntoken = \"t\"\n[[runners]]\nurl = \"http://x\"\ntoken = \"t\"\nexecutor = \"kubernetes\"\n";
        let problems = read(text).expect_err("it is wrong");
        for line in [
            "config.toml:1: concurrent must be a whole number",
            "config.toml:3: runners.url must be a text",
            "config.toml:8: runners.executor: \"kubernetes\" does not exist here; there are \"sandbox\", \"docker\", \"vm\" and \"shell\"",
        ] {
            assert!(problems.contains(line), "no {line:?} in {problems}");
        }
        assert!(
            read("[[runners")
                .expect_err("no TOML")
                .contains("config.toml:1:")
        );
    }
}
