//! The plan of one job: what was written, with variables filled in where the server reads them.

use super::{Decided, Planner};
use crate::entry::PagesEntry;
use crate::expand::Unknown;
use crate::report::Report;
use crate::scope::Scope;
use crate::{
    Artifacts, Bridge, Environment, Expiry, IdToken, JobPlan, Pages, Trigger, TriggerTarget,
    parse_duration,
};

impl<'a> Planner<'a> {
    /// Makes the plan of one job. `None` after an error.
    pub(super) fn job(
        &self,
        decided: &Decided<'a>,
        all: &[Option<Decided<'a>>],
        report: &mut Report,
    ) -> Option<JobPlan> {
        let Decided {
            candidate,
            decision,
            ..
        } = decided;
        let job = candidate.job;
        let needs = self.needs_of(decided, all, report)?;
        let scope = self.scope(candidate, &decided.predefined, decision.rule);
        let circle = scope.circle(self.has_circle);
        if !circle.is_empty() {
            let message = format!(
                "{}: circular variable reference detected: {circle:?}",
                candidate.name
            );
            report.error(job.span, message);
            return None;
        }
        let fill = |text: &String| scope.fill(text, Unknown::Empty);
        let common = &job.common;
        let before = common.before_script.iter().flatten();
        Some(JobPlan {
            name: candidate.name.clone(),
            stage: job.stage.clone(),
            stage_index: candidate.stage_index,
            script: before.chain(&job.script).cloned().collect(),
            after_script: common.after_script.clone().unwrap_or_default(),
            pre_get_sources_script: common.pre_get_sources_script.clone().unwrap_or_default(),
            variables: self.yaml(candidate, decision.rule),
            needs,
            foreign_needs: job
                .needs
                .as_ref()
                .map(|it| it.foreign.clone())
                .unwrap_or_default(),
            dependencies: job
                .dependencies
                .as_ref()
                .map(|it| self.dependencies(&it.1, all)),
            artifacts: artifacts(common.artifacts.as_ref(), job.pages.as_ref()),
            cache: common.cache.clone().unwrap_or_default(),
            when: decision.when,
            start_in_secs: decision.start_in_secs,
            allow_failure: decision.allow_failure,
            allow_failure_exit_codes: decision.allow_failure_exit_codes.to_vec(),
            tags: common
                .tags
                .iter()
                .flatten()
                .map(|it| scope.fill_as_written(it, Unknown::Keep))
                .collect(),
            retry: common.retry.clone().unwrap_or_default(),
            timeout_secs: common.timeout_secs,
            image: common.image.clone(),
            services: common.services.clone().unwrap_or_default(),
            bridge: job.bridge.as_ref().map(|it| bridge(it, fill)),
            steps: job.steps.clone(),
            id_tokens: common
                .id_tokens
                .iter()
                .flatten()
                .map(|it| IdToken {
                    name: it.name.clone(),
                    audience: it.audience.iter().map(fill).collect(),
                })
                .collect(),
            secrets: job.secrets.clone(),
            inputs: job.inputs.clone(),
            release: job.release.clone(),
            pages: job.pages.as_ref().map(|it| pages(it, fill)),
            interruptible: decision
                .rule
                .and_then(|it| it.interruptible)
                .or(common.interruptible)
                .unwrap_or(false),
            environment: job.environment.as_ref().map(|it| environment(it, &scope)),
            coverage: job.coverage.clone(),
            resource_group: job
                .resource_group
                .as_ref()
                .map(fill)
                .filter(|it| !it.is_empty()),
            manual_confirmation: job.manual_confirmation.clone(),
            parallel: candidate.parallel,
        })
    }
}

fn environment(written: &Environment, scope: &Scope<'_>) -> Environment {
    let fill = |text: &String| scope.fill(text, Unknown::Empty);
    Environment {
        name: fill(&written.name),
        auto_stop_in: written.auto_stop_in.as_ref().map(fill),
        ..written.clone()
    }
}

/// Returns what a job leaves behind, which the directory of its pages is part of.
fn artifacts(written: Option<&Artifacts>, pages: Option<&PagesEntry>) -> Option<Artifacts> {
    let mut artifacts = match (written, pages) {
        (Some(written), _) => written.clone(),
        (None, Some(_)) => Artifacts::default(),
        (None, None) => return None,
    };
    if let Some(pages) = pages.filter(|it| !artifacts.paths.contains(&it.publish)) {
        artifacts.paths.push(pages.publish.clone());
    }
    Some(artifacts)
}

/// Fills variables into where pages are and how long they stay.
fn pages(entry: &PagesEntry, fill: impl Fn(&String) -> String) -> Pages {
    let expire_in = entry.expire_in.as_ref().map(&fill);
    Pages {
        publish: fill(&entry.publish),
        path_prefix: entry.path_prefix.as_ref().map(&fill),
        expire_in: expire_in.and_then(|it| match it.eq_ignore_ascii_case("never") {
            true => Some(Expiry::Never),
            false => parse_duration(&it)
                .ok()
                .flatten()
                .map(|it| Expiry::AfterSecs(it.as_secs())),
        }),
    }
}

/// Fills variables into what a bridge names.
fn bridge(written: &Bridge, fill: impl Fn(&String) -> String) -> Bridge {
    match written {
        Bridge::Mirror { project } => Bridge::Mirror {
            project: fill(project),
        },
        Bridge::Trigger(trigger) => Bridge::Trigger(Trigger {
            target: match &trigger.target {
                TriggerTarget::Project { project, branch } => TriggerTarget::Project {
                    project: fill(project),
                    branch: branch.as_ref().map(fill).filter(|it| !it.is_empty()),
                },
                child @ TriggerTarget::Child { .. } => child.clone(),
            },
            ..trigger.clone()
        }),
    }
}
