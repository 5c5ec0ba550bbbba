//! The predefined variables: what a pipeline knows of itself before it has jobs, and what a job is told when it runs.

use rave_ci_lang::{Forward, JobPlan, Reader, Unknown, Variable, expand, expand_all, slug};
use rave_core::id::JobId;
use rave_core::permission::Project;
use rave_core::port::{Commit, NamespaceSummary, UserSummary};
use rave_core::time::Timestamp;

use crate::config::CiConfig;
use crate::model::{Job, Pipeline, Runner};

/// The address of the file in the repository.
pub(crate) const CONFIG_PATH: &str = ".gitlab-ci.yml";

/// What the variables of a pipeline are made from.
#[derive(Debug)]
pub struct PipelineFacts<'a> {
    pub config: &'a CiConfig,
    pub project: &'a Project,
    pub namespace: Option<&'a NamespaceSummary>,
    pub commit: &'a Commit,
    pub user: Option<&'a UserSummary>,
    /// As in `CI_PIPELINE_SOURCE`.
    pub source: &'a str,
    pub ref_name: &'a str,
    pub tag: bool,
    pub protected: bool,
    pub before_sha: &'a str,
    pub created_at: Timestamp,
}

/// Collects public variables.
#[derive(Default)]
struct List(Vec<Variable>);

impl List {
    fn add(&mut self, key: &str, value: impl Into<String>) {
        self.0.push(Variable::public(key, value));
    }

    /// Adds a value that is text, whatever it contains: names and messages of people.
    fn add_raw(&mut self, key: &str, value: impl Into<String>) {
        let raw = Variable {
            raw: true,
            ..Variable::public(key, value)
        };
        self.0.push(raw);
    }

    fn add_secret(&mut self, key: &str, value: impl Into<String>) {
        self.0.push(Variable {
            key: key.to_owned(),
            value: value.into(),
            raw: true,
            masked: true,
            ..Variable::default()
        });
    }
}

/// Returns the predefined variables that exist before there are jobs.
pub fn of_pipeline(facts: &PipelineFacts<'_>) -> Vec<Variable> {
    let mut list = List::default();
    server(&mut list, facts.config);
    project(&mut list, facts);
    commit(&mut list, facts);
    list.add("CI_PIPELINE_SOURCE", facts.source);
    list.add("CI_PIPELINE_CREATED_AT", facts.created_at.rfc3339());
    if let Some(user) = facts.user {
        list.add("GITLAB_USER_ID", user.id.to_string());
        list.add_raw("GITLAB_USER_LOGIN", &*user.username);
        list.add_raw("GITLAB_USER_NAME", &*user.name);
        list.add_raw("GITLAB_USER_EMAIL", &*user.email);
    }
    list.0
}

fn server(list: &mut List, config: &CiConfig) {
    let url = &config.external_url;
    let (protocol, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of a bare IPv6 address are no port.
        Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => (host, port),
        _ if protocol == "https" => (authority, "443"),
        _ => (authority, "80"),
    };
    let default_port = matches!((protocol, port), ("https", "443") | ("http", "80"));
    list.add("CI", "true");
    list.add("GITLAB_CI", "true");
    list.add("RAVE_CI", "true");
    list.add("CI_API_V4_URL", format!("{url}/api/v4"));
    list.add(
        "CI_SERVER_FQDN",
        if default_port { host } else { authority },
    );
    list.add("CI_SERVER_HOST", host);
    list.add("CI_SERVER_PORT", port);
    list.add("CI_SERVER_PROTOCOL", protocol);
    list.add("CI_SERVER_URL", url);
    list.add("CI_SERVER_NAME", "RAVE");
    list.add("CI_SERVER_VERSION", &config.version);
    let mut parts = config.version.split(['.', '-', '+']);
    for key in [
        "CI_SERVER_VERSION_MAJOR",
        "CI_SERVER_VERSION_MINOR",
        "CI_SERVER_VERSION_PATCH",
    ] {
        list.add(key, parts.next().unwrap_or("0"));
    }
    list.add("CI_SERVER_REVISION", &config.version);
    list.add("GITLAB_FEATURES", "");
}

fn project(list: &mut List, facts: &PipelineFacts<'_>) {
    let project = facts.project;
    let path = project.path.as_str();
    let namespace = project.path.parent().map(String::from).unwrap_or_default();
    let host = facts
        .config
        .external_url
        .split_once("://")
        .map_or("", |it| it.1);
    list.add("CI_PROJECT_ID", project.id.to_string());
    list.add("CI_PROJECT_NAME", project.path.last().as_str());
    list.add_raw("CI_PROJECT_TITLE", &*project.name);
    list.add_raw("CI_PROJECT_DESCRIPTION", &*project.description);
    list.add("CI_PROJECT_PATH", path);
    list.add("CI_PROJECT_PATH_SLUG", slug(path));
    list.add("CI_PROJECT_NAMESPACE", &*namespace);
    list.add("CI_PROJECT_NAMESPACE_SLUG", slug(&namespace));
    let id = facts.namespace.map_or(project.namespace, |it| it.id);
    list.add("CI_PROJECT_NAMESPACE_ID", id.to_string());
    list.add(
        "CI_PROJECT_ROOT_NAMESPACE",
        path.split('/').next().unwrap_or_default(),
    );
    list.add(
        "CI_PROJECT_URL",
        format!("{}/{path}", facts.config.external_url),
    );
    list.add("CI_PROJECT_VISIBILITY", project.visibility.label());
    list.add_raw("CI_DEFAULT_BRANCH", &*project.default_branch);
    list.add("CI_DEFAULT_BRANCH_SLUG", slug(&project.default_branch));
    list.add("CI_CONFIG_PATH", CONFIG_PATH);
    let kind = if facts.tag { "tags" } else { "heads" };
    let uri = format!(
        "{host}/{path}//{CONFIG_PATH}@refs/{kind}/{}",
        facts.ref_name
    );
    list.add_raw("CI_CONFIG_REF_URI", uri);
}

fn commit(list: &mut List, facts: &PipelineFacts<'_>) {
    const MESSAGE_BYTES: usize = 100_000;
    let commit = facts.commit;
    list.add("CI_COMMIT_SHA", commit.id.as_str());
    list.add("CI_COMMIT_SHORT_SHA", commit.id.short());
    list.add("CI_COMMIT_BEFORE_SHA", facts.before_sha);
    list.add_raw("CI_COMMIT_REF_NAME", facts.ref_name);
    list.add("CI_COMMIT_REF_SLUG", slug(facts.ref_name));
    list.add("CI_COMMIT_REF_PROTECTED", facts.protected.to_string());
    list.add_raw(
        if facts.tag {
            "CI_COMMIT_TAG"
        } else {
            "CI_COMMIT_BRANCH"
        },
        facts.ref_name,
    );
    let cut = commit.message.floor_char_boundary(MESSAGE_BYTES);
    let message = &commit.message[..cut];
    let description = message.split_once("\n\n").map_or("", |it| it.1);
    list.add_raw("CI_COMMIT_MESSAGE", message);
    list.add(
        "CI_COMMIT_MESSAGE_IS_TRUNCATED",
        (cut < commit.message.len()).to_string(),
    );
    list.add_raw("CI_COMMIT_TITLE", commit.title());
    list.add_raw("CI_COMMIT_DESCRIPTION", description);
    list.add("CI_COMMIT_TIMESTAMP", &*commit.committed_at);
    let author = format!("{} <{}>", commit.author_name, commit.author_email);
    list.add_raw("CI_COMMIT_AUTHOR", author);
}

/// What the variables of a running job are made from.
pub(crate) struct JobFacts<'a> {
    pub(crate) config: &'a CiConfig,
    pub(crate) project_path: &'a str,
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) predefined: &'a [Variable],
    pub(crate) project_variables: &'a [Variable],
    pub(crate) pipeline_variables: &'a [Variable],
    pub(crate) job: &'a Job,
    pub(crate) plan: &'a JobPlan,
    /// Left by jobs before it.
    pub(crate) dotenv: &'a [Variable],
    pub(crate) job_variables: &'a [Variable],
    /// `None` for a bridge, which no runner runs.
    pub(crate) machine: Option<Machine<'a>>,
}

/// What runs a job, and when.
pub(crate) struct Machine<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) token: &'a str,
    pub(crate) id_tokens: &'a [Variable],
    pub(crate) binary_caches: &'a [Variable],
    pub(crate) now: Timestamp,
}

/// Returns the variables of a job in the order of precedence, the last of a key wins, filled into each other as far as
/// the server knows them.
pub(crate) fn of_job(facts: &JobFacts<'_>) -> Vec<Variable> {
    let mut list = List::default();
    running(&mut list, facts);
    planned(&mut list, facts);
    let mut all = list.0;
    if let Some(machine) = &facts.machine {
        all.extend_from_slice(machine.id_tokens);
        all.extend_from_slice(machine.binary_caches);
    }
    all.extend_from_slice(facts.predefined);
    all.push(Variable::public(
        "CI_PIPELINE_IID",
        facts.pipeline.iid.to_string(),
    ));
    if let Some(name) = &facts.pipeline.name {
        all.push(Variable::public("CI_PIPELINE_NAME", name));
    }
    all.extend_from_slice(&facts.plan.variables);
    all.extend_from_slice(facts.dotenv);
    all.extend_from_slice(facts.project_variables);
    all.extend_from_slice(facts.pipeline_variables);
    all.extend_from_slice(facts.job_variables);
    if let Some(environment) = &facts.plan.environment {
        let mut last = List::default();
        last.add("CI_ENVIRONMENT_SLUG", environment.slug());
        if let Some(url) = &environment.url {
            last.add("CI_ENVIRONMENT_URL", &**url);
        }
        all.extend(last.0);
    }
    expand_all(&all, Reader::Runner).variables
}

fn running(list: &mut List, facts: &JobFacts<'_>) {
    let project_url = format!("{}/{}", facts.config.external_url, facts.project_path);
    let (job, pipeline) = (facts.job, facts.pipeline);
    list.add("CI_PIPELINE_ID", pipeline.id.to_string());
    list.add(
        "CI_PIPELINE_URL",
        format!("{project_url}/-/pipelines/{}", pipeline.id),
    );
    list.add("CI_JOB_ID", job.id.to_string());
    list.add("CI_JOB_URL", job_url(&project_url, job.id));
    if let Some(trace) = &pipeline.trace {
        let trace = trace.child().to_string();
        list.add("TRACEPARENT", &*trace);
        list.add("RAVE_TRACEPARENT", trace);
    }
    let Some(Machine {
        runner, token, now, ..
    }) = &facts.machine
    else {
        return;
    };
    list.add_secret("CI_JOB_TOKEN", *token);
    list.add("CI_JOB_STARTED_AT", now.rfc3339());
    list.0.push(Variable {
        public: false,
        raw: true,
        ..Variable::public(
            "CI_REPOSITORY_URL",
            repository_url(&facts.config.external_url, facts.project_path, token),
        )
    });
    list.add("CI_RUNNER_ID", runner.id.to_string());
    list.add_raw("CI_RUNNER_DESCRIPTION", &*runner.description);
    list.add_raw("CI_RUNNER_TAGS", serde_json::json!(runner.tags).to_string());
}

fn planned(list: &mut List, facts: &JobFacts<'_>) {
    let plan = facts.plan;
    list.add_raw("CI_JOB_NAME", &*plan.name);
    list.add("CI_JOB_NAME_SLUG", slug(&plan.name));
    list.add_raw("CI_JOB_STAGE", &*plan.stage);
    if plan.when == rave_ci_lang::When::Manual {
        list.add("CI_JOB_MANUAL", "true");
    }
    let total = plan.parallel.map_or(1, |it| it.total);
    list.add("CI_NODE_TOTAL", total.to_string());
    if let Some(copy) = plan.parallel {
        list.add("CI_NODE_INDEX", copy.index.to_string());
    }
    list.add("CI_JOB_TIMEOUT", (facts.job.timeout_ms / 1000).to_string());
    if let Some(environment) = &plan.environment {
        list.add_raw("CI_ENVIRONMENT_NAME", &*environment.name);
        list.add("CI_ENVIRONMENT_ACTION", &*environment.action);
        list.add("CI_ENVIRONMENT_TIER", environment.tier());
    }
}

/// What the variables of a downstream pipeline are made from.
pub(crate) struct Forwarded<'a> {
    pub(crate) forward: Forward,
    /// All variables of the bridge, filled into each other.
    pub(crate) known: &'a [Variable],
    /// Those of the bridge's file.
    pub(crate) yaml: &'a [Variable],
    pub(crate) dotenv: &'a [Variable],
    /// Those that the bridge's pipeline was given.
    pub(crate) pipeline: &'a [Variable],
}

/// Returns the variables that a bridge hands down, one for each key. Values are final: what they refer to is known above
/// only. One that holds a masked value is masked below, where nobody else knows to.
pub(crate) fn forwarded(facts: &Forwarded<'_>) -> Vec<Variable> {
    let mut given: Vec<&Variable> = Vec::new();
    if facts.forward.yaml_variables {
        given.extend(facts.yaml);
    }
    if facts.forward.pipeline_variables {
        given.extend(facts.dotenv);
        given.extend(facts.pipeline);
    }
    let secrets = || {
        facts
            .known
            .iter()
            .filter(|it| it.masked && !it.value.is_empty())
    };
    let mut down: Vec<Variable> = Vec::new();
    for it in given {
        let value = if it.raw {
            it.value.clone()
        } else {
            expand(&it.value, facts.known, Unknown::Empty)
        };
        down.retain(|known| known.key != it.key);
        down.push(Variable {
            masked: it.masked || secrets().any(|secret| value.contains(&secret.value)),
            public: false,
            value,
            ..it.clone()
        });
    }
    down
}

/// Returns the address of a job's page.
pub(crate) fn job_url(project_url: &str, job: JobId) -> String {
    format!("{project_url}/-/jobs/{job}")
}

/// Returns the address from which a job fetches its source, with its credentials.
pub(crate) fn repository_url(external_url: &str, project_path: &str, token: &str) -> String {
    let (scheme, rest) = external_url
        .split_once("://")
        .unwrap_or(("http", external_url));
    format!("{scheme}://gitlab-ci-token:{token}@{rest}/{project_path}.git")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_variable(url: &str, key: &str) -> String {
        let mut list = List::default();
        server(&mut list, &CiConfig::new(url, "1.2.3-pre"));
        let found = list.0.into_iter().find(|it| it.key == key);
        found.expect("the variable exists").value
    }

    #[test]
    fn the_server_names_itself_by_its_address() {
        let check = |url: &str, key: &str, expected: &str| {
            assert_eq!(server_variable(url, key), expected, "{url} {key}")
        };
        check("https://ci.example.org", "CI_SERVER_FQDN", "ci.example.org");
        check("https://ci.example.org", "CI_SERVER_PORT", "443");
        check("http://localhost:8080", "CI_SERVER_FQDN", "localhost:8080");
        check("http://localhost:8080", "CI_SERVER_HOST", "localhost");
        check("http://localhost:8080", "CI_SERVER_PORT", "8080");
        check("https://x.org/rave", "CI_SERVER_HOST", "x.org");
        check("http://[::1]:80", "CI_SERVER_FQDN", "[::1]");
        check("http://x", "CI_SERVER_VERSION_PATCH", "3");
        check("http://x", "CI_API_V4_URL", "http://x/api/v4");
    }

    #[test]
    fn what_goes_down_is_final_and_keeps_its_secrets() {
        let variable = |key: &str, value: &str| Variable {
            key: key.into(),
            value: value.into(),
            ..Variable::default()
        };
        let secret = Variable {
            masked: true,
            ..variable("KEY", "s3cr3t-value")
        };
        let raw = Variable {
            raw: true,
            ..variable("RAW", "$REF")
        };
        let down = |yaml_variables, pipeline_variables| {
            let facts = Forwarded {
                forward: Forward {
                    yaml_variables,
                    pipeline_variables,
                },
                known: &[variable("REF", "main"), secret.clone()],
                yaml: &[
                    variable("A", "$REF-$NOWHERE"),
                    raw.clone(),
                    variable("S", "x$KEY"),
                ],
                dotenv: &[variable("D", "1"), variable("A", "dotenv")],
                pipeline: &[variable("P", "$REF"), variable("D", "2")],
            };
            let all = forwarded(&facts);
            let text = |it: &Variable| {
                let masked = if it.masked { "(masked)" } else { "" };
                format!("{}={}{masked}", it.key, it.value)
            };
            all.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            down(true, false),
            "A=main- RAW=$REF S=xs3cr3t-value(masked)"
        );
        assert_eq!(
            down(true, true),
            "RAW=$REF S=xs3cr3t-value(masked) A=dotenv P=main D=2"
        );
        assert_eq!(down(false, false), "");
    }

    #[test]
    fn a_repository_url_carries_the_token() {
        assert_eq!(
            repository_url("https://x.org/rave", "team/app", "glcbt-1"),
            "https://gitlab-ci-token:glcbt-1@x.org/rave/team/app.git"
        );
    }
}
