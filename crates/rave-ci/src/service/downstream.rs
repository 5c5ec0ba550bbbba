//! Bridges: jobs that make another pipeline, or take over the status of one.
//!
//! A bridge that was let go waits in its state until a worker comes. The pipeline's row names the bridge and is made
//! first, once; whatever cuts the worker off, the next try goes on with that row. What becomes of the bridge afterwards
//! is told by [`super::follow`].

use rave_ci_lang::{
    Bridge, Diagnostic, InputValue, JobPlan, Trigger, TriggerStrategy, TriggerTarget, Unknown,
    Variable, expand,
};
use rave_core::id::JobId;
use rave_core::job::{FailureReason, JobEvent};
use rave_core::name::{FullPath, ObjectId};
use rave_core::permission::{
    Denied, Principal, Project, ProjectFacts, ReadPipelines, RunPipelines, decide,
};
use rave_core::port::ProjectRef;

use super::Ci;
use super::advance::Action;
use super::assign::Needing;
use super::create::{Draft, Verdict, Wish};
use super::plan::Occasion;
use super::settings::Reach;
use crate::error::CiError;
use crate::model::{ChoreKind, Job, Source, Strategy, Upstream};
use crate::store;
use crate::store::downstream::{Ancestor, Made};
use crate::store::pipeline::JobSide;
use crate::variables::{self, Forwarded, JobFacts};

/// How many bridges are looked at in one go.
const BATCH: u32 = 50;
/// A top-level pipeline may have children, and those children of their own.
const CHILD_LEVELS: usize = 2;
/// How many pipelines may belong together.
const FAMILY: u32 = 1000;
/// How often a project, branch and source may occur on the way up. Once more is taken for chance.
const OCCURRENCES: usize = 2;
/// How many pipelines one commit may trigger in a minute on a user's behalf.
const PER_MINUTE: u64 = 350;

/// A bridge that was let go, and what it knows.
struct Waiting {
    job: Job,
    plan: JobPlan,
    side: JobSide,
    project: Project,
    given: Vec<Variable>,
    dotenv: Vec<Variable>,
}

/// Why a bridge gets no pipeline.
#[derive(Debug)]
struct Failure {
    reason: FailureReason,
    messages: Vec<String>,
}

impl From<FailureReason> for Failure {
    fn from(reason: FailureReason) -> Self {
        Self {
            reason,
            messages: Vec::new(),
        }
    }
}

type Found = Result<rave_core::id::PipelineId, Failure>;

impl Ci {
    /// Finds the pipelines of bridges that were let go. Returns how many bridges there were.
    pub(crate) async fn trigger_bridges(&self) -> Result<usize, CiError> {
        let bridges = self
            .db
            .read("ci_triggering", |tx| {
                Ok::<_, CiError>(store::downstream::triggering(tx, BATCH)?)
            })
            .await?;
        let mut failed = None;
        for bridge in &bridges {
            if let Err(error) = self.trigger(*bridge).await {
                // The others need not wait for it.
                tracing::warn!(job.id = bridge.0, %error, "cannot trigger a pipeline yet");
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(bridges.len()),
        }
    }

    #[tracing::instrument(skip_all, name = "trigger", fields(job.id = bridge.0))]
    async fn trigger(&self, bridge: JobId) -> Result<(), CiError> {
        let Some(waiting) = self.load_waiting(bridge).await? else {
            return Ok(());
        };
        let (found, strategy) = match &waiting.plan.bridge {
            Some(Bridge::Trigger(trigger)) => (
                self.make_downstream(&waiting, trigger).await,
                strategy_of(trigger),
            ),
            Some(Bridge::Mirror { project }) => (
                self.find_mirrored(&waiting, project).await,
                Some(Strategy::Mirror),
            ),
            None => (Ok(Err(FailureReason::DataIntegrityFailure.into())), None),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(job.id = bridge.0, %error, "a bridge failed");
                Err(FailureReason::UnknownFailure.into())
            }
        };
        match found {
            Ok(pipeline) => {
                let job = waiting.job.id;
                let action = Action::Attach {
                    job,
                    pipeline,
                    strategy,
                };
                match self.apply(waiting.job.pipeline, action).await {
                    Ok(_) => Ok(()),
                    // The bridge was canceled while its pipeline was made.
                    Err(CiError::Refused(_) | CiError::NotFound(_) | CiError::Forbidden(_)) => {
                        self.disown(&waiting, pipeline, strategy).await
                    }
                    Err(error) => Err(error),
                }
            }
            Err(failure) => self.refuse(&waiting.job, failure).await,
        }
    }

    async fn load_waiting(&self, bridge: JobId) -> Result<Option<Waiting>, CiError> {
        let key = self.key.clone();
        let loaded = self
            .db
            .read("ci_bridge", move |tx| {
                let Some(job) = store::job::find_anywhere(tx, bridge)? else {
                    return Ok(None);
                };
                let (plan, given) = store::job::load_order(tx, &key, bridge)?;
                let side = store::pipeline::load_job_side(tx, &key, job.pipeline)?;
                let left = store::dotenv::of_pipeline(tx, job.pipeline)?;
                Ok::<_, CiError>(Some((job, plan, given, side, left)))
            })
            .await?;
        let Some((job, plan, given, side, left)) = loaded else {
            return Ok(None);
        };
        let Some(project) = self.directory.load_project(job.project).await? else {
            return Ok(None);
        };
        let dotenv = Needing::of(&plan, job.stage_index).dotenv(left);
        Ok(Some(Waiting {
            job,
            plan,
            side,
            project,
            given,
            dotenv,
        }))
    }

    async fn refuse(&self, bridge: &Job, failure: Failure) -> Result<(), CiError> {
        let (job, reason) = (bridge.id, failure.reason);
        tracing::info!(
            job.id = job.0,
            reason = reason.label(),
            "a bridge got no pipeline"
        );
        self.db
            .write("ci_bridge_errors", move |tx| {
                Ok::<_, CiError>(store::downstream::put_errors(tx, job, &failure.messages)?)
            })
            .await?;
        let action = Action::Job {
            job,
            event: JobEvent::Fail(reason),
            exit_code: None,
        };
        match self.apply(bridge.pipeline, action).await {
            Ok(_) | Err(CiError::Refused(_) | CiError::NotFound(_) | CiError::Forbidden(_)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Stops a pipeline whose bridge does not wait for it any more, as if the bridge had been canceled after it was made.
    async fn disown(
        &self,
        waiting: &Waiting,
        pipeline: rave_core::id::PipelineId,
        strategy: Option<Strategy>,
    ) -> Result<(), CiError> {
        let child = matches!(
            &waiting.plan.bridge,
            Some(Bridge::Trigger(Trigger {
                target: TriggerTarget::Child { .. },
                ..
            }))
        );
        let made = matches!(&waiting.plan.bridge, Some(Bridge::Trigger(_)));
        if !made || !(child || strategy.is_some()) {
            return Ok(());
        }
        self.db
            .write("ci_disown", move |tx| {
                Ok::<_, CiError>(store::chore::insert(tx, ChoreKind::Cancel, pipeline)?)
            })
            .await?;
        self.wakes.chores.notify_one();
        Ok(())
    }

    async fn make_downstream(
        &self,
        waiting: &Waiting,
        trigger: &Trigger,
    ) -> Result<Found, CiError> {
        let bridge = waiting.job.id;
        let made = self
            .db
            .read("ci_made", move |tx| {
                Ok::<_, CiError>(store::downstream::find_made(tx, bridge)?)
            })
            .await?;
        let begun = match made {
            Some(Made {
                ready: true,
                pipeline,
                errors,
            }) => return Ok(verdict_of(pipeline, &errors)),
            Some(begun) => Some(begun.pipeline),
            None => None,
        };
        let drafted = match &trigger.target {
            TriggerTarget::Child { config } => self.draft_child(waiting, trigger, config).await,
            TriggerTarget::Project { project, branch } => {
                let branch = branch.as_deref();
                self.draft_elsewhere(waiting, trigger, project, branch)
                    .await
            }
        };
        let mut draft = match drafted {
            Ok(Ok(draft)) => draft,
            Ok(Err(failure)) => return Ok(Err(failure)),
            Err(CiError::NoPipeline(messages)) => {
                return Ok(Err(Failure {
                    reason: FailureReason::DownstreamPipelineCreationFailed,
                    messages,
                }));
            }
            Err(error) => return Err(error),
        };
        draft.new.upstream = Some(Upstream {
            pipeline: waiting.job.pipeline,
            bridge,
        });
        let errors = match draft.verdict {
            Verdict::Invalid => draft.planned.errors.clone(),
            Verdict::Jobs(_) | Verdict::Skipped => Vec::new(),
        };
        let pipeline = self.make(draft, None, begun).await?;
        Ok(verdict_of(pipeline, &errors))
    }

    /// Plans a pipeline of the same project and commit.
    async fn draft_child(
        &self,
        waiting: &Waiting,
        trigger: &Trigger,
        config: &str,
    ) -> Result<Result<Draft, Failure>, CiError> {
        let above = self.ancestors(waiting).await?;
        let levels = above
            .iter()
            .take_while(|it| it.source == Source::ParentPipeline)
            .count();
        if levels >= CHILD_LEVELS {
            return Ok(Err(FailureReason::ReachedMaxDescendantPipelinesDepth.into()));
        }
        if let Some(failure) = self.over_limits(waiting, &above).await? {
            return Ok(Err(failure));
        }
        let parent = &waiting.side.pipeline;
        let gone = || CiError::NoPipeline(vec!["Commit not found".to_owned()]);
        let sha = ObjectId::parse(&parent.sha).map_err(|_| gone())?;
        let commit = self.forge.commit(parent.project, &sha).await?;
        let mut variables = forwarded(waiting, trigger, &self.known(waiting).await?);
        let mut predefined = None;
        if let Some(around) = self.surroundings() {
            // Only the command that made the pipeline knows where the project really is, and what is set there.
            predefined = Some(inherited(&waiting.side.predefined));
            variables = [around.variables, variables].concat();
        }
        let occasion = Occasion {
            commit: commit.ok_or_else(gone)?,
            project: waiting.project.clone(),
            ref_name: parent.ref_name.clone(),
            tag: parent.tag,
            protected: parent.protected,
            before: ObjectId::parse(&parent.before_sha).map_err(|_| gone())?,
            source: Source::ParentPipeline,
            user: waiting.job.user,
            variables,
            inputs: Vec::new(),
            predefined,
            more: upstream_variables(waiting),
            reach: Reach::Everything,
            schedule: None,
            parent: Some(parent.id),
        };
        let reading = self.compile(&occasion, config.to_owned()).await?;
        let trace = parent.trace.map(|it| it.child());
        let drafted = self.draft(occasion, reading, false, trace);
        Ok(Ok(
            drafted.map_err(|refusal| CiError::NoPipeline(refusal.reasons))?
        ))
    }

    /// Plans a pipeline of another project, as the bridge's user and with no more rights than theirs.
    async fn draft_elsewhere(
        &self,
        waiting: &Waiting,
        trigger: &Trigger,
        path: &str,
        branch: Option<&str>,
    ) -> Result<Result<Draft, Failure>, CiError> {
        use FailureReason as R;
        let Some((principal, facts)) = self.project_for(waiting, path).await? else {
            return Ok(Err(R::DownstreamBridgeProjectNotFound.into()));
        };
        if facts.project.id == waiting.project.id {
            return Ok(Err(R::InvalidBridgeTrigger.into()));
        }
        let access = match decide::<RunPipelines>(&principal, facts) {
            Ok(access) => access,
            Err(Denied::Hidden) => return Ok(Err(R::DownstreamBridgeProjectNotFound.into())),
            Err(denied) => {
                return Ok(Err(Failure {
                    reason: R::InsufficientBridgePermissions,
                    messages: vec![denied.to_string()],
                }));
            }
        };
        let above = self.ancestors(waiting).await?;
        if is_loop(&above) {
            return Ok(Err(R::PipelineLoopDetected.into()));
        }
        if let Some(failure) = self.over_limits(waiting, &above).await? {
            return Ok(Err(failure));
        }
        let ref_name = match branch.filter(|it| !it.is_empty()) {
            Some(branch) => branch.to_owned(),
            None => access.project().default_branch.clone(),
        };
        let asked = Wish::new(ref_name.clone(), Source::Pipeline);
        let user = principal.user_id();
        let occasion = self.occasion(access.project(), asked, user).await?;
        if let Err(CiError::NoPipeline(messages)) = self.need_change(&access, &occasion).await {
            return Ok(Err(Failure {
                reason: R::InsufficientBridgePermissions,
                messages,
            }));
        }
        let known = self.known(waiting).await?;
        let wish = Wish {
            variables: forwarded(waiting, trigger, &known),
            inputs: filled(&trigger.inputs, &known),
            more: upstream_variables(waiting),
            ..Wish::new(ref_name, Source::Pipeline)
        };
        let mut draft = self.draft_of_wish(&access, wish).await?;
        draft.new.trace = waiting.side.pipeline.trace.map(|it| it.child());
        Ok(Ok(draft))
    }

    /// Returns a project as the bridge's user sees it, and that user.
    async fn project_for(
        &self,
        waiting: &Waiting,
        path: &str,
    ) -> Result<Option<(Principal, ProjectFacts)>, CiError> {
        let (Some(user), Ok(path)) = (waiting.job.user, FullPath::parse(path.trim_matches('/')))
        else {
            return Ok(None);
        };
        let Some(principal) = self.directory.find_principal(user).await? else {
            return Ok(None);
        };
        let principal = Principal::User(principal);
        let at = ProjectRef::Path(path);
        let facts = self.directory.find_project(&principal, &at).await?;
        Ok(facts.map(|facts| (principal, facts)))
    }

    /// Finds the pipeline whose status a bridge takes over.
    async fn find_mirrored(&self, waiting: &Waiting, path: &str) -> Result<Found, CiError> {
        use FailureReason as R;
        let Some((principal, facts)) = self.project_for(waiting, path).await? else {
            return Ok(Err(R::UpstreamBridgeProjectNotFound.into()));
        };
        let access = match decide::<ReadPipelines>(&principal, facts) {
            Ok(access) => access,
            Err(Denied::Hidden) => return Ok(Err(R::UpstreamBridgeProjectNotFound.into())),
            Err(_) => return Ok(Err(R::InsufficientUpstreamPermissions.into())),
        };
        let branch = &access.project().default_branch;
        Ok(match self.find_latest_pipeline(&access, branch).await? {
            Some(pipeline) => Ok(pipeline.id),
            None => Err(R::UpstreamBridgeProjectNotFound.into()),
        })
    }

    async fn ancestors(&self, waiting: &Waiting) -> Result<Vec<Ancestor>, CiError> {
        let pipeline = waiting.job.pipeline;
        self.db
            .read("ci_ancestors", move |tx| {
                Ok(store::downstream::ancestors(tx, pipeline, FAMILY)?)
            })
            .await
    }

    async fn over_limits(
        &self,
        waiting: &Waiting,
        above: &[Ancestor],
    ) -> Result<Option<Failure>, CiError> {
        const MINUTE_MS: i64 = 60_000;
        let root = above.last().map_or(waiting.job.pipeline, |it| it.pipeline);
        let (project, user) = (waiting.job.project, waiting.job.user);
        let sha = waiting.side.pipeline.sha.clone();
        let since = self.now().plus_millis(-MINUTE_MS);
        let (family, lately) = self
            .db
            .read("ci_trigger_limits", move |tx| {
                let family = store::downstream::family_size(tx, root, FAMILY)?;
                let lately = store::downstream::triggered_since(tx, project, &sha, user, since)?;
                Ok::<_, CiError>((family, lately))
            })
            .await?;
        Ok(if family >= u64::from(FAMILY) {
            Some(FailureReason::ReachedMaxPipelineHierarchySize.into())
        } else if lately >= PER_MINUTE {
            Some(FailureReason::ReachedDownstreamPipelineTriggerRateLimit.into())
        } else {
            None
        })
    }

    /// Returns the variables that a bridge knows, each filled in.
    async fn known(&self, waiting: &Waiting) -> Result<Vec<Variable>, CiError> {
        let environment = waiting.plan.environment.as_ref();
        let project_variables = self
            .variables_of_project(
                &waiting.project,
                waiting.side.pipeline.protected,
                environment.map(|it| it.name.as_str()),
            )
            .await?;
        Ok(variables::of_job(&JobFacts {
            config: &self.config,
            project_path: waiting.project.path.as_str(),
            pipeline: &waiting.side.pipeline,
            predefined: &waiting.side.predefined,
            project_variables: &project_variables,
            pipeline_variables: &waiting.side.variables,
            job: &waiting.job,
            plan: &waiting.plan,
            dotenv: &waiting.dotenv,
            job_variables: &waiting.given,
            machine: None,
        }))
    }
}

/// Returns the variables that go down.
fn forwarded(waiting: &Waiting, trigger: &Trigger, known: &[Variable]) -> Vec<Variable> {
    variables::forwarded(&Forwarded {
        forward: trigger.forward,
        known,
        yaml: &waiting.plan.variables,
        dotenv: &waiting.dotenv,
        pipeline: &[&waiting.side.variables[..], &waiting.given[..]].concat(),
    })
}

/// Returns the inputs of another pipeline's file, with the variables in texts filled in.
fn filled(inputs: &[(String, InputValue)], known: &[Variable]) -> Vec<(String, InputValue)> {
    let filled = |value: &InputValue| match value {
        InputValue::Text(text) => InputValue::Text(expand(text, known, Unknown::Empty)),
        other => other.clone(),
    };
    let inputs = inputs.iter();
    inputs
        .map(|(name, value)| (name.clone(), filled(value)))
        .collect()
}

fn verdict_of(pipeline: rave_core::id::PipelineId, errors: &[Diagnostic]) -> Found {
    if errors.is_empty() {
        return Ok(pipeline);
    }
    Err(Failure {
        reason: FailureReason::DownstreamPipelineCreationFailed,
        messages: errors.iter().map(ToString::to_string).collect(),
    })
}

fn strategy_of(trigger: &Trigger) -> Option<Strategy> {
    match trigger.strategy {
        TriggerStrategy::None => None,
        TriggerStrategy::Depend => Some(Strategy::Depend),
        TriggerStrategy::Mirror => Some(Strategy::Mirror),
    }
}

/// Whether a project, branch and source come too often on the way up for it to end somewhere. Children are part of
/// their parents.
fn is_loop(above: &[Ancestor]) -> bool {
    let mut counts = std::collections::BTreeMap::new();
    let tops = above
        .iter()
        .filter(|it| it.source != Source::ParentPipeline);
    for it in tops {
        let key = (it.project, it.ref_name.as_str(), it.source.label());
        *counts.entry(key).or_insert(0_usize) += 1;
    }
    counts.values().any(|it| *it > OCCURRENCES)
}

/// Returns the predefined variables of a parent as its child has them.
fn inherited(parent: &[Variable]) -> Vec<Variable> {
    let mut list = parent.to_vec();
    list.retain(|it| !it.key.starts_with("CI_UPSTREAM_"));
    for source in list.iter_mut().filter(|it| it.key == "CI_PIPELINE_SOURCE") {
        Source::ParentPipeline.label().clone_into(&mut source.value);
    }
    list
}

fn upstream_variables(waiting: &Waiting) -> Vec<Variable> {
    let job = &waiting.job;
    vec![
        Variable::public("CI_UPSTREAM_PIPELINE_ID", job.pipeline.to_string()),
        Variable::public("CI_UPSTREAM_PROJECT_ID", job.project.to_string()),
        Variable::public("CI_UPSTREAM_JOB_ID", job.id.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_core::id::{PipelineId, ProjectId};

    #[test]
    fn pipelines_may_call_each_other_back_once() {
        let at = |project: i64, source| Ancestor {
            pipeline: PipelineId(1),
            project: ProjectId(project),
            ref_name: "main".into(),
            source,
        };
        let check = |projects: &[i64], expected: bool| {
            let mut above: Vec<_> = projects
                .iter()
                .map(|it| at(*it, Source::Pipeline))
                .collect();
            above.push(at(1, Source::Push));
            assert_eq!(is_loop(&above), expected, "{projects:?}");
        };
        check(&[], false);
        check(&[2], false);
        check(&[1, 2], false);
        check(&[2, 1, 2], false);
        check(&[1, 2, 1, 2], false);
        check(&[2, 1, 2, 1, 2], true);
        let children = vec![at(1, Source::ParentPipeline); 5];
        assert!(!is_loop(&children));
    }
}
