//! What a runner is given of a job: the answer of `POST /jobs/request`.

use rave_ci_lang::{Artifacts, Cache, Expiry, Image, JobPlan, Service, UploadWhen, Variable};
use rave_core::job::FailureReason;
use rave_core::time::Timestamp;
use serde_json::{Value, json};

use super::inputs;
use super::secrets::secrets;
use crate::config::CiConfig;
use crate::model::{ArtifactFormat, RunnerType};
use crate::service::assign::Assigned;
use crate::service::cache_key;
use crate::store::artifact::Source;
use crate::variables::{self, JobFacts, Machine};

/// Prefixes of tokens that the runner hides in logs wherever it sees them.
const MASK_PREFIXES: [&str; 6] = ["glpat-", "glrt-", "glcbt-", "glptt-", "rvs-", "rvc-"];

/// Makes the answer.
pub(crate) fn payload(config: &CiConfig, assigned: &Assigned, now: Timestamp) -> Value {
    let (job, plan) = (&assigned.taken.job, &assigned.taken.plan);
    let (pipeline, project) = (&assigned.side.pipeline, &assigned.project);
    let token = assigned.token.expose();
    let variables = variables::of_job(&JobFacts {
        config,
        project_path: project.path.as_str(),
        pipeline,
        predefined: &assigned.side.predefined,
        project_variables: &assigned.project_variables,
        pipeline_variables: &assigned.side.variables,
        job,
        plan,
        dotenv: &assigned.dotenv,
        job_variables: &assigned.taken.variables,
        machine: Some(Machine {
            runner: &assigned.runner,
            token,
            id_tokens: &assigned.id_tokens,
            binary_caches: &assigned.binary_caches,
            now,
        }),
    });
    let timeout = (job.timeout_ms / 1000).max(1);
    let waited = job.queued_at.map_or(0, |it| now.since(it).max(0));
    let mut payload = json!({
        "id": job.id.0,
        "token": token,
        "allow_git_fetch": true,
        "job_info": {
            "id": job.id.0,
            "name": job.name,
            "stage": job.stage,
            "pipeline_id": pipeline.id.0,
            "project_id": project.id.0,
            "project_name": project.path.last().as_str(),
            "project_full_path": project.path.as_str(),
            "namespace_id": project.namespace.0,
            "root_namespace_id": project.namespace.0,
            "organization_id": 1,
            "instance_id": config.external_url,
            "user_id": job.user.map(|it| it.0),
            "scoped_user_id": null,
            "time_in_queue_seconds": seconds(waited),
            "project_jobs_running_on_instance_runners_count": running(assigned),
            "queue_size": assigned.queue.size,
            "queue_depth": 0,
        },
        "git_info": git_info(config, assigned, &variables),
        "runner_info": { "timeout": timeout },
        "steps": steps(plan, timeout),
        "image": plan.image.as_ref().map(image),
        "services": plan.services.iter().map(service).collect::<Vec<_>>(),
        "artifacts": artifacts(plan),
        "cache": plan.cache.iter().zip(&assigned.cache_keys).map(|(it, key)| cache(it, key, pipeline.protected)).collect::<Vec<_>>(),
        "credentials": [],
        "dependencies": assigned.dependencies.iter().map(|it| dependency(it, token)).collect::<Vec<_>>(),
        "features": {
            "trace_sections": true,
            "token_mask_prefixes": MASK_PREFIXES,
            "failure_reasons": FailureReason::ALL.iter().map(|it| it.label()).collect::<Vec<_>>(),
        },
        "hooks": hooks(plan),
        "secrets": secrets(plan, &variables),
        "memory": {
            "expected_bytes": assigned.taken.expected_bytes,
            "given_bytes": assigned.taken.given_bytes,
            "counted_bytes": assigned.counted_bytes,
        },
        "variables": variables.iter().map(variable).collect::<Vec<_>>(),
    });
    // The stock runner (19.4) reads a list in a text, and refuses the whole job if it is null.
    if let Some(steps) = &plan.steps {
        payload["run"] = json!(steps.to_string());
    }
    payload
}

/// Returns how many other jobs of the project are with runners of the instance, as runners count them in buckets.
fn running(assigned: &Assigned) -> String {
    const MANY: u64 = 1000;
    match assigned.runner.kind {
        RunnerType::Instance => match assigned.queue.running {
            many if many > MANY => format!("{MANY}+"),
            few => few.to_string(),
        },
        RunnerType::Group | RunnerType::Project => "+Inf".to_owned(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time in a queue is far below 2^52 ms"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn git_info(config: &CiConfig, assigned: &Assigned, variables: &[Variable]) -> Value {
    let pipeline = &assigned.side.pipeline;
    let (kind, remote) = if pipeline.tag {
        ("tags", "tags")
    } else {
        ("heads", "remotes/origin")
    };
    let named = variables.iter().rev().find(|it| it.key == "GIT_DEPTH");
    let depth = named
        .and_then(|it| it.value.parse::<u32>().ok())
        .unwrap_or(config.git_depth);
    let mut refspecs = vec![format!(
        "+refs/pipelines/{0}:refs/pipelines/{0}",
        pipeline.id
    )];
    if depth > 0 {
        let name = &pipeline.ref_name;
        refspecs.push(format!("+refs/{kind}/{name}:refs/{remote}/{name}"));
    } else {
        refspecs.push("+refs/heads/*:refs/remotes/origin/*".to_owned());
        refspecs.push("+refs/tags/*:refs/tags/*".to_owned());
    }
    let url = variables::repository_url(
        &config.external_url,
        assigned.project.path.as_str(),
        assigned.token.expose(),
    );
    json!({
        "repo_url": url,
        "repo_object_format": if pipeline.sha.len() == 64 { "sha256" } else { "sha1" },
        "ref": pipeline.ref_name,
        "sha": pipeline.sha,
        "before_sha": pipeline.before_sha,
        "ref_type": if pipeline.tag { "tag" } else { "branch" },
        "refspecs": refspecs,
        "depth": depth,
        "protected": pipeline.protected,
    })
}

fn variable(it: &Variable) -> Value {
    json!({
        "key": it.key,
        "value": it.value,
        "public": it.public,
        "file": it.file,
        "masked": it.masked,
        "raw": it.raw,
    })
}

/// A step that may fail does not fail its job. That the job may fail is the pipeline's concern alone.
fn steps(plan: &JobPlan, timeout: i64) -> Vec<Value> {
    let mut steps = Vec::new();
    if !plan.script.is_empty() {
        steps.push(json!({
            "name": "script",
            "script": inputs::fill(&plan.script, &plan.inputs),
            "timeout": timeout,
            "when": "on_success",
            "allow_failure": false,
        }));
    }
    if !plan.after_script.is_empty() {
        steps.push(json!({
            "name": "after_script",
            "script": inputs::fill(&plan.after_script, &plan.inputs),
            "timeout": timeout,
            "when": "always",
            "allow_failure": true,
        }));
    }
    steps
}

/// A stock runner fails a job whose options have keys that it does not know, so there are none but those given.
fn image(image: &Image) -> Value {
    let mut options = json!({});
    if let Some(platform) = &image.platform {
        options["docker"]["platform"] = json!(platform);
    }
    if let Some(user) = &image.user {
        options["docker"]["user"] = json!(user);
    }
    if let Some(user) = &image.kubernetes_user {
        options["kubernetes"]["user"] = json!(user);
    }
    json!({
        "name": image.name,
        "entrypoint": image.entrypoint,
        "pull_policy": image.pull_policy,
        "executor_opts": options,
    })
}

fn service(service: &Service) -> Value {
    let mut wire = image(&service.image);
    wire["alias"] = json!(service.alias.join(" "));
    wire["command"] = json!(service.command);
    wire["variables"] = service.variables.iter().map(variable).collect();
    wire
}

fn when(when: UploadWhen) -> &'static str {
    match when {
        UploadWhen::OnSuccess => "on_success",
        UploadWhen::OnFailure => "on_failure",
        UploadWhen::Always => "always",
    }
}

/// The archive first, then the reports.
fn artifacts(plan: &JobPlan) -> Vec<Value> {
    let Some(artifacts) = &plan.artifacts else {
        return Vec::new();
    };
    let mut list = Vec::new();
    if !artifacts.paths.is_empty() || artifacts.untracked {
        list.push(archive(artifacts));
    }
    for report in &artifacts.reports {
        list.push(json!({
            "name": report_name(&report.kind),
            "untracked": false,
            "paths": report.paths,
            "exclude": [],
            "when": "always",
            "expire_in": expire_in(artifacts),
            "artifact_type": report.kind,
            "artifact_format": format_of(&report.kind).label(),
        }));
    }
    list
}

fn archive(artifacts: &Artifacts) -> Value {
    json!({
        "name": artifacts.name.as_deref().unwrap_or("artifacts"),
        "untracked": artifacts.untracked,
        "paths": artifacts.paths,
        "exclude": artifacts.exclude,
        "when": when(artifacts.when),
        "expire_in": expire_in(artifacts),
        "artifact_type": "archive",
        "artifact_format": ArtifactFormat::Zip.label(),
    })
}

fn expire_in(artifacts: &Artifacts) -> Option<String> {
    artifacts.expire_in.map(|it| match it {
        Expiry::AfterSecs(secs) => format!("{secs} seconds"),
        Expiry::Never => "never".to_owned(),
    })
}

/// Returns how the runner packs an artifact of a type.
pub(crate) fn format_of(file_type: &str) -> ArtifactFormat {
    match file_type {
        "archive" | "lsif" | "scip" => ArtifactFormat::Zip,
        "metadata" | "junit" | "metrics" | "metrics_referee" | "network_referee" | "dotenv"
        | "cobertura" | "jacoco" | "cyclonedx" | "annotations" | "repository_xray" => {
            ArtifactFormat::Gzip
        }
        _ => ArtifactFormat::Raw,
    }
}

fn report_name(kind: &str) -> String {
    match kind {
        "junit" => "junit.xml".to_owned(),
        "dotenv" => ".env".to_owned(),
        "cobertura" => "cobertura-coverage.xml".to_owned(),
        "jacoco" => "jacoco-coverage.xml".to_owned(),
        "codequality" => "gl-code-quality-report.json".to_owned(),
        "terraform" => "tfplan.json".to_owned(),
        "metrics" => "metrics.txt".to_owned(),
        "cyclonedx" => "gl-sbom.cdx.json".to_owned(),
        "accessibility" => "gl-accessibility.json".to_owned(),
        "annotations" => "gl-annotations.json".to_owned(),
        "lsif" => "lsif.json".to_owned(),
        "scip" => "index.scip".to_owned(),
        kind => format!("gl-{}-report.json", kind.replace('_', "-")),
    }
}

fn cache(cache: &Cache, key: &str, protected: bool) -> Value {
    let suffix = cache_key::suffix(cache, protected);
    let fallback: Vec<String> = cache
        .fallback_keys
        .iter()
        .map(|it| format!("{it}{suffix}"))
        .collect();
    json!({
        "key": key,
        "untracked": cache.untracked,
        "policy": cache.policy,
        "paths": cache.paths,
        "when": when(cache.when),
        "fallback_keys": fallback,
    })
}

fn dependency(source: &Source, token: &str) -> Value {
    json!({
        "id": source.job.0,
        "name": source.name,
        "token": token,
        "artifacts_file": source.archive.as_ref().map(|(filename, size)| json!({ "filename": filename, "size": size })),
    })
}

fn hooks(plan: &JobPlan) -> Vec<Value> {
    let script = &plan.pre_get_sources_script;
    if script.is_empty() {
        return Vec::new();
    }
    vec![json!({ "name": "pre_get_sources_script", "script": script })]
}
