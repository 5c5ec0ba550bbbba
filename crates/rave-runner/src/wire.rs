//! The JSON of the runner protocol: what a job is, as the server sends it, and what the runner says of itself.
//!
//! Every list and object may be absent or `null`: GitLab sends both. Unknown fields are ignored, because every
//! release of the server adds some.

use crate::config::ExecutorKind;
use std::collections::BTreeMap;
use std::fmt;

use rave_core::trace::TraceContext;

use crate::host::{Offer, Usage};
use serde::{Deserialize, Deserializer, Serialize};

/// Reads `null` as the type's default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// The body of `POST /jobs/request`, of `POST /runners/verify` and the `info` of every other call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Info {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) revision: String,
    pub(crate) platform: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) executor: &'static str,
    pub(crate) shell: &'static str,
    pub(crate) features: Features,
}

/// What of the machine's memory the next job can have. Servers that do not know the key ignore it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemoryOffer {
    budget_bytes: u64,
    most_bytes: u64,
    limit_bytes: u64,
    request_bytes: u64,
    holders: Vec<Holder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refuses: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Holder {
    job: i64,
    bytes: u64,
}

impl From<&Offer> for MemoryOffer {
    fn from(offer: &Offer) -> Self {
        let holders = offer.holders.iter();
        Self {
            budget_bytes: offer.budget_bytes,
            most_bytes: offer.most_bytes,
            limit_bytes: offer.limit_bytes,
            request_bytes: offer.request_bytes,
            holders: holders
                .map(|(job, bytes)| Holder {
                    job: job.0,
                    bytes: *bytes,
                })
                .collect(),
            refuses: offer.refuses.clone(),
        }
    }
}

/// What this runner can do. Every key is always present: a server drops jobs that need an absent one.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the shape is the protocol's")]
pub(crate) struct Features {
    pub(crate) variables: bool,
    pub(crate) image: bool,
    pub(crate) services: bool,
    pub(crate) artifacts: bool,
    pub(crate) cache: bool,
    pub(crate) fallback_cache_keys: bool,
    pub(crate) shared: bool,
    pub(crate) upload_multiple_artifacts: bool,
    pub(crate) upload_raw_artifacts: bool,
    pub(crate) session: bool,
    pub(crate) terminal: bool,
    pub(crate) refspecs: bool,
    pub(crate) masking: bool,
    pub(crate) proxy: bool,
    pub(crate) raw_variables: bool,
    pub(crate) artifacts_exclude: bool,
    pub(crate) multi_build_steps: bool,
    pub(crate) trace_reset: bool,
    pub(crate) trace_checksum: bool,
    pub(crate) trace_size: bool,
    pub(crate) vault_secrets: bool,
    pub(crate) cancelable: bool,
    pub(crate) return_exit_code: bool,
    pub(crate) service_variables: bool,
    pub(crate) service_multiple_aliases: bool,
    pub(crate) image_executor_opts: bool,
    pub(crate) service_executor_opts: bool,
    pub(crate) cancel_gracefully: bool,
    pub(crate) native_steps_integration: bool,
    pub(crate) two_phase_job_commit: bool,
    pub(crate) job_inputs: bool,
}

impl Features {
    /// Returns what this runner supports with an executor.
    pub(crate) const fn of_this_runner(executor: &ExecutorKind) -> Self {
        let shared = matches!(executor, ExecutorKind::Shell);
        let (images, services) = match executor {
            ExecutorKind::Sandbox(policy) => (policy.images, policy.images),
            ExecutorKind::Container(..) => (true, true),
            ExecutorKind::Vm(_) => (true, false),
            ExecutorKind::Shell => (false, false),
        };
        Self {
            variables: true,
            image: images,
            services,
            artifacts: true,
            cache: true,
            fallback_cache_keys: true,
            shared,
            upload_multiple_artifacts: true,
            upload_raw_artifacts: true,
            session: false,
            terminal: false,
            refspecs: true,
            masking: true,
            proxy: false,
            raw_variables: true,
            artifacts_exclude: true,
            multi_build_steps: true,
            trace_reset: true,
            trace_checksum: true,
            trace_size: true,
            vault_secrets: true,
            cancelable: true,
            return_exit_code: true,
            service_variables: services,
            service_multiple_aliases: services,
            image_executor_opts: images,
            service_executor_opts: services,
            cancel_gracefully: true,
            native_steps_integration: false,
            two_phase_job_commit: true,
            job_inputs: false,
        }
    }
}

/// A job, as `POST /jobs/request` answers it.
#[derive(Clone, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: i64,
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) allow_git_fetch: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) job_info: JobInfo,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) git_info: GitInfo,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) runner_info: RunnerInfo,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) variables: Vec<Variable>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) steps: Vec<Step>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) run: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) image: Image,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) services: Vec<Image>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) credentials: Vec<Credentials>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) artifacts: Vec<Artifact>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) cache: Vec<Cache>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) features: JobFeatures,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) hooks: Vec<Hook>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// What the server knows of the job's memory. Other servers say nothing.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) memory: Memory,
}

/// What a server knows of a job's memory.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Memory {
    /// What it is expected to need, after its past runs.
    pub(crate) expected_bytes: Option<u64>,
    /// What it gets, whatever its variables ask for, because its last try had too little.
    pub(crate) given_bytes: Option<u64>,
    /// What the server counted it with when it looked whether there is room.
    pub(crate) counted_bytes: Option<u64>,
}

impl Job {
    /// Returns the trace that the job's pipeline belongs to, if the server says so.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        let found = self.variables.iter().find(|it| it.key == "TRACEPARENT");
        TraceContext::parse(&found?.value)
    }
}

impl fmt::Debug for Job {
    /// Prints only what cannot hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("info", &self.job_info)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct JobInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) project_id: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) project_full_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) time_in_queue_seconds: f64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) queue_size: i64,
}

#[derive(Clone, Default, Deserialize)]
pub(crate) struct GitInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) repo_url: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) repo_object_format: String,
    #[serde(rename = "ref", default, deserialize_with = "or_default")]
    pub(crate) reference: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) sha: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) refspecs: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) depth: i64,
    /// Whether the ref is one that few may change.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) protected: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RunnerInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) timeout: i64,
}

#[derive(Clone, Default, Deserialize)]
pub(crate) struct Variable {
    pub(crate) key: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) value: String,
    /// Whether anybody may see it: only such variables reach services.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) public: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) file: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) masked: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) raw: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Step {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) script: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) when: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) allow_failure: bool,
}

/// A variable whose value another server knows.
#[derive(Clone, Deserialize)]
pub(crate) struct Secret {
    pub(crate) vault: Option<VaultSecret>,
    pub(crate) file: Option<bool>,
    /// Other providers, by their names.
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct VaultSecret {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) server: VaultServer,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) engine: VaultEngine,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) field: String,
}

#[derive(Clone, Default, PartialEq, Deserialize)]
pub(crate) struct VaultServer {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) url: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) auth: VaultAuth,
}

/// How to log in: where, and with what.
#[derive(Clone, Default, PartialEq, Deserialize)]
pub(crate) struct VaultAuth {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) data: serde_json::Value,
}

#[derive(Clone, Default, Deserialize)]
pub(crate) struct VaultEngine {
    /// `kv-v2`, or something that is read without versions.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
}

#[derive(Clone, Default, Deserialize)]
pub(crate) struct Image {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    /// The names under which a service is reached, separated by spaces or commas.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) alias: String,
    /// `None` keeps that of the image.
    #[serde(default)]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) command: Option<Vec<String>>,
    /// Variables of the service alone.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) variables: Vec<Variable>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) pull_policy: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) executor_opts: ImageOptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ImageOptions {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) docker: DockerOptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct DockerOptions {
    /// Such as `linux/arm64`.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) platform: String,
    /// A name or a number, as the image knows it.
    #[serde(default, deserialize_with = "number_or_text")]
    pub(crate) user: String,
}

/// A name and password that the server sends along.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Credentials {
    /// `registry`, or something that is not for us.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) url: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) username: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) password: String,
}

/// Reads what some write as a number.
fn number_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(text) => text,
        serde_json::Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Artifact {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) untracked: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) paths: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) exclude: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) when: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) expire_in: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) artifact_type: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) artifact_format: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Cache {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) key: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) untracked: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) policy: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) paths: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) when: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) fallback_keys: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) id: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) token: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) artifacts_file: ArtifactsFile,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ArtifactsFile {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) filename: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct JobFeatures {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) trace_sections: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) token_mask_prefixes: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) failure_reasons: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Hook {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) script: Vec<String>,
}

/// The body of `PUT /jobs/:id`.
#[derive(Clone, Serialize)]
pub(crate) struct JobUpdate<'a> {
    pub(crate) info: &'a Info,
    pub(crate) token: &'a str,
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure_reason: Option<&'a str>,
    /// The older place of the checksum, which servers before 13.x read.
    pub(crate) checksum: &'a str,
    pub(crate) output: Output<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    /// What the job used. Servers that do not know the key ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<&'a Usage>,
}

#[derive(Clone, Serialize)]
pub(crate) struct Output<'a> {
    pub(crate) checksum: &'a str,
    pub(crate) bytesize: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_full_of_nulls_is_read() {
        let text = r#"{"id":7,"token":"t","allow_git_fetch":true,"job_info":null,"git_info":null,"image":null,
            "variables":null,"steps":null,"artifacts":null,"cache":[{"key":"k","paths":null}],"services":null,
            "dependencies":[{"id":3,"name":"a","token":"t","artifacts_file":null}],"features":null,"new":{"x":1}}"#;
        let job: Job = serde_json::from_str(text).expect("a job");
        assert_eq!(
            (job.id, job.cache[0].key.as_str(), job.dependencies[0].id),
            (7, "k", 3)
        );
        assert!(
            !format!("{job:?}").contains("token"),
            "a job prints no token"
        );
    }
}
