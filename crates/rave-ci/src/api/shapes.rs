//! Pipelines, jobs and runners in GitLab's shapes, with the people and commits in them fetched once.

use std::collections::BTreeMap;

use rave_core::id::{PipelineId, UserId};
use rave_core::job::Status;
use rave_core::name::ObjectId;
use rave_core::permission::{Access, Action, Project, ReadPipelines};
use rave_core::port::{Commit, UserSummary};
use rave_core::time::Timestamp;
use serde_json::{Value, json};

use crate::error::CiError;
use crate::model::{Artifact, Job, Manager, Pipeline, Runner, RunnerStatus, RunnerType, Stuck};
use crate::service::Ci;
use crate::service::links::Links;
use crate::service::read::JobExtras;

/// What shapes of one project are made with.
pub(crate) struct Shaper<'a> {
    url: &'a str,
    project: &'a Project,
    now: Timestamp,
    users: BTreeMap<UserId, UserSummary>,
    commits: BTreeMap<String, Commit>,
    extras: JobExtras,
    coverage: BTreeMap<PipelineId, f64>,
}

impl<'a> Shaper<'a> {
    /// Prepares shapes of these pipelines.
    pub(crate) async fn of_pipelines<A: Action>(
        ci: &'a Ci,
        access: &'a Access<A>,
        pipelines: &[Pipeline],
    ) -> Result<Self, CiError> {
        let users = pipelines
            .iter()
            .filter_map(|it| it.user)
            .collect::<Vec<_>>();
        Ok(Self {
            url: &ci.config.external_url,
            project: access.project(),
            now: ci.now(),
            users: ci.directory.users(&users).await?,
            commits: BTreeMap::new(),
            extras: JobExtras::default(),
            coverage: ci.coverage_of(pipelines).await?,
        })
    }

    /// Prepares shapes in which only users are named.
    pub(crate) async fn of_users(
        ci: &'a Ci,
        project: &'a Project,
        users: impl IntoIterator<Item = UserId>,
    ) -> Result<Self, CiError> {
        let users: Vec<UserId> = users.into_iter().collect();
        Ok(Self {
            url: &ci.config.external_url,
            project,
            now: ci.now(),
            users: ci.directory.users(&users).await?,
            commits: BTreeMap::new(),
            extras: JobExtras::default(),
            coverage: BTreeMap::new(),
        })
    }

    /// Prepares shapes of these jobs.
    pub(crate) async fn of_jobs(
        ci: &'a Ci,
        access: &'a Access<ReadPipelines>,
        jobs: &[Job],
    ) -> Result<Self, CiError> {
        let extras = ci.job_extras(access, jobs).await?;
        let users = jobs.iter().filter_map(|it| it.user).collect::<Vec<_>>();
        let mut commits = BTreeMap::new();
        for pipeline in extras.pipelines.values() {
            if commits.contains_key(&pipeline.sha) {
                continue;
            }
            let Ok(id) = ObjectId::parse(&pipeline.sha) else {
                continue;
            };
            if let Some(commit) = ci.forge.commit(access.project().id, &id).await? {
                commits.insert(pipeline.sha.clone(), commit);
            }
        }
        Ok(Self {
            url: &ci.config.external_url,
            project: access.project(),
            now: ci.now(),
            users: ci.directory.users(&users).await?,
            commits,
            extras,
            coverage: BTreeMap::new(),
        })
    }

    fn web_url(&self, tail: &str) -> String {
        self.web_url_in(self.project, tail)
    }

    fn web_url_in(&self, project: &Project, tail: &str) -> String {
        format!("{}/{}/-/{tail}", self.url, project.path)
    }

    /// Returns a pipeline as lists and jobs show it.
    pub(crate) fn pipeline_summary(&self, pipeline: &Pipeline) -> Value {
        self.summary_in(self.project, pipeline)
    }

    fn summary_in(&self, project: &Project, pipeline: &Pipeline) -> Value {
        json!({
            "id": pipeline.id.0,
            "iid": pipeline.iid,
            "project_id": pipeline.project.0,
            "sha": pipeline.sha,
            "ref": pipeline.ref_name,
            "status": pipeline.status.label(),
            "source": pipeline.source.label(),
            "created_at": pipeline.created_at.rfc3339(),
            "updated_at": pipeline.updated_at.rfc3339(),
            "web_url": self.web_url_in(project, &format!("pipelines/{}", pipeline.id)),
            "name": pipeline.name,
        })
    }

    /// Returns a pipeline with everything.
    pub(crate) fn pipeline(&self, pipeline: &Pipeline) -> Value {
        let mut value = self.pipeline_summary(pipeline);
        let notices: Vec<String> = pipeline.notices.iter().map(ToString::to_string).collect();
        let more = json!({
            "before_sha": pipeline.before_sha,
            "tag": pipeline.tag,
            "yaml_errors": pipeline.yaml_errors(),
            "notices": notices,
            "failure_reason": pipeline.failure.map(|it| it.label()),
            "user": self.user(pipeline.user),
            "started_at": time(pipeline.started_at),
            "finished_at": time(pipeline.finished_at),
            "committed_at": null,
            "duration": pipeline.duration_ms(self.now).map(|it| it / 1000),
            "queued_duration": pipeline.started_at.map(|it| it.since(pipeline.created_at).max(0) / 1000),
            "coverage": self.coverage.get(&pipeline.id).map(|it| format!("{it:.2}")),
            "detailed_status": self.detailed_status(pipeline),
            "archived": false,
        });
        extend(&mut value, more);
        value
    }

    fn detailed_status(&self, pipeline: &Pipeline) -> Value {
        let status = pipeline.status;
        let (icon, text) = status_words(status);
        json!({
            "icon": icon,
            "text": text,
            "label": text.to_lowercase(),
            "group": status.label(),
            "tooltip": text.to_lowercase(),
            "has_details": true,
            "details_path": format!("/{}/-/pipelines/{}", self.project.path, pipeline.id),
            "illustration": null,
            "favicon": null,
        })
    }

    /// Returns a user as others see them, `null` for nobody.
    pub(crate) fn user(&self, id: Option<UserId>) -> Value {
        let Some(user) = id.and_then(|it| self.users.get(&it)) else {
            return Value::Null;
        };
        json!({
            "id": user.id.0,
            "username": user.username,
            "name": user.name,
            "state": if user.active { "active" } else { "blocked" },
            "locked": false,
            "avatar_url": null,
            "web_url": format!("{}/{}", self.url, user.username),
        })
    }

    fn commit(&self, sha: &str) -> Value {
        let Some(commit) = self.commits.get(sha) else {
            return Value::Null;
        };
        json!({
            "id": commit.id.as_str(),
            "short_id": commit.id.short(),
            "created_at": commit.committed_at,
            "parent_ids": commit.parents.iter().map(ObjectId::as_str).collect::<Vec<_>>(),
            "title": commit.title(),
            "message": commit.message,
            "author_name": commit.author_name,
            "author_email": commit.author_email,
            "authored_date": commit.authored_at,
            "committer_name": commit.committer_name,
            "committer_email": commit.committer_email,
            "committed_date": commit.committed_at,
            "trailers": {},
            "extended_trailers": {},
            "web_url": self.web_url(&format!("commit/{}", commit.id)),
        })
    }

    /// Returns a bridge: a job without what only runners leave, and with the pipeline that it made.
    pub(crate) fn bridge(&self, job: &Job, links: &Links) -> Value {
        let mut value = self.job(job);
        if let Value::Object(map) = &mut value {
            for key in [
                "artifacts_file",
                "artifacts",
                "runner",
                "runner_manager",
                "stuck",
                "pending_reason",
                "pending_message",
                "artifacts_expire_at",
                "tag_list",
            ] {
                map.remove(key);
            }
        }
        let made = links.of(job.id).filter(|it| it.made);
        let downstream = made.and_then(|it| {
            let project = it.project.as_ref()?;
            Some(self.summary_in(project, &it.pipeline))
        });
        extend(&mut value, json!({ "downstream_pipeline": downstream }));
        value
    }

    /// Returns the runner of a job.
    fn runner(&self, job: &Job, runner: &Runner) -> Value {
        let machine = self.extras.machines.get(&job.id);
        let active = job.state.runner().is_some();
        runner_summary(runner, machine, self.now, active)
    }

    /// Returns a job with everything.
    pub(crate) fn job(&self, job: &Job) -> Value {
        let pipeline = self.extras.pipelines.get(&job.pipeline);
        let artifacts = self
            .extras
            .artifacts
            .get(&job.id)
            .map_or(&[][..], Vec::as_slice);
        let archive = artifacts.iter().find(|it| it.is_archive());
        let runner = job.runner.and_then(|it| self.extras.runners.get(&it));
        let stuck = self.extras.stuck.get(&job.id);
        json!({
            "id": job.id.0,
            "status": job.status().label(),
            "stage": job.stage,
            "name": job.name,
            "ref": pipeline.map(|it| &it.ref_name),
            "tag": pipeline.is_some_and(|it| it.tag),
            "coverage": job.coverage,
            "allow_failure": job.allow_failure,
            "created_at": job.created_at.rfc3339(),
            "started_at": time(job.started_at),
            "finished_at": time(job.finished_at),
            "erased_at": time(job.erased_at),
            "duration": seconds(job.duration_ms(self.now)),
            "queued_duration": seconds(job.queued_ms(self.now)),
            "user": self.user(job.user),
            "commit": pipeline.map_or(Value::Null, |it| self.commit(&it.sha)),
            "pipeline": pipeline.map(|it| self.pipeline_summary(it)),
            "failure_reason": job.failure_reason().map(|it| it.label()),
            "exit_code": job.exit_code,
            "web_url": self.web_url(&format!("jobs/{}", job.id)),
            "project": { "ci_job_token_scope_enabled": false },
            "artifacts_file": archive.map(|it| json!({ "filename": it.filename, "size": it.size_bytes })),
            "artifacts": artifacts.iter().map(artifact).chain(log(job)).collect::<Vec<_>>(),
            "runner": runner.map(|it| self.runner(job, it)),
            "runner_manager": self.extras.machines.get(&job.id).map(|it| manager(it, self.now)),
            "stuck": stuck.is_some_and(Stuck::is_obstacle),
            "pending_reason": stuck.map(Stuck::label),
            "pending_message": stuck.map(|it| it.sentence(&job.tags)),
            "artifacts_expire_at": archive.and_then(|it| time(it.expire_at)),
            "archived": false,
            "tag_list": job.tags,
            "resource_usage": job.usage,
        })
    }
}

fn artifact(artifact: &Artifact) -> Value {
    json!({
        "file_type": artifact.file_type,
        "size": artifact.size_bytes,
        "filename": artifact.filename,
        "file_format": artifact.format.label(),
    })
}

/// A log counts as an artifact once there is one.
fn log(job: &Job) -> Option<Value> {
    (job.trace_bytes > 0).then(|| {
        json!({ "file_type": "trace", "size": job.trace_bytes, "filename": "job.log", "file_format": null })
    })
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::rfc3339)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "durations are far below 2^52 ms"
)]
fn seconds(millis: Option<i64>) -> Option<f64> {
    millis.map(|it| it as f64 / 1000.0)
}

/// Adds the members of one object to another.
pub(crate) fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

fn status_words(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Created => ("status_created", "Created"),
        Status::Manual => ("status_manual", "Blocked"),
        Status::Scheduled => ("status_scheduled", "Delayed"),
        Status::WaitingForResource => ("status_pending", "Waiting"),
        Status::Pending => ("status_pending", "Pending"),
        Status::Running => ("status_running", "Running"),
        Status::Canceling => ("status_canceled", "Canceling"),
        Status::Success => ("status_success", "Passed"),
        Status::Failed => ("status_failed", "Failed"),
        Status::Canceled => ("status_canceled", "Canceled"),
        Status::Skipped => ("status_skipped", "Skipped"),
    }
}

/// Returns a runner as lists and jobs show it; `last` is the machine that is named with it.
pub(crate) fn runner_summary(
    runner: &Runner,
    last: Option<&Manager>,
    now: Timestamp,
    active: bool,
) -> Value {
    let status = runner.status(now);
    let name = last.map(|it| &it.info.name).filter(|it| !it.is_empty());
    json!({
        "id": runner.id.0,
        "description": runner.description,
        "ip_address": last.map(|it| &it.info.ip_address),
        "active": !runner.paused,
        "paused": runner.paused,
        "is_shared": runner.kind == RunnerType::Instance,
        "runner_type": runner.kind.label(),
        "name": name,
        "online": status == RunnerStatus::Online,
        "status": status.label(),
        "created_at": runner.created_at.rfc3339(),
        "created_by": null,
        "job_execution_status": if active { "active" } else { "idle" },
    })
}

/// Returns a machine that uses a runner's token.
pub(crate) fn manager(manager: &Manager, now: Timestamp) -> Value {
    json!({
        "id": manager.id,
        "system_id": manager.info.system_id,
        "version": manager.info.version,
        "revision": manager.info.revision,
        "platform": manager.info.platform,
        "architecture": manager.info.architecture,
        "created_at": manager.created_at.rfc3339(),
        "contacted_at": manager.contacted_at.rfc3339(),
        "ip_address": manager.info.ip_address,
        "status": manager.status(now).label(),
    })
}
