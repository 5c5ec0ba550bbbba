//! Making pipelines: from a push, which may be handled twice, and on request.
//!
//! The row comes first and is invisible; then the forge keeps the commit under the row's number; then jobs, the first
//! step of the graph and the events become visible together. A crash in between leaves an invisible row: the second
//! handling of the push goes on with it, and those of requests are removed by a worker.

use rave_ci_lang::{Diagnostic, InputValue, Outcome, Variable, skip_ci};
use rave_core::event::{Event, EventKind, NewEvent, RefChange};
use rave_core::id::{PipelineId, ProjectId};
use rave_core::job::Status;
use rave_core::name::{ObjectId, RefName};
use rave_core::permission::{Access, Project, RunPipelines};
use rave_core::trace::TraceContext;
use rave_store::Tx;
use serde_json::json;

use super::advance::{self, Action, Applied, Rules};
use super::origin::Origin;
use super::plan::{Occasion, Reading};
use super::settings::Reach;
use super::{Ci, report};
use crate::error::CiError;
use crate::model::{ChoreKind, OnJobFailure, OnNewCommit, Pipeline, PipelineFailure, Source};
use crate::setting::is_key;
use crate::store;
use crate::store::job::NewJob;
use crate::store::pipeline::{NewPipeline, Planned, Sealed};
use crate::store::push::Progress;

/// How many references of one push get pipelines, as in GitLab: whoever mirrors a repository does not mean to build it all,
/// and other people's pushes wait meanwhile.
const PIPELINES_PER_PUSH: usize = 4;

/// What somebody asks a pipeline for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// Name of a branch or tag.
    pub(crate) ref_name: String,
    pub(crate) source: Source,
    pub(crate) variables: Vec<Variable>,
    /// Inputs for the header of the file.
    pub(crate) inputs: Vec<(String, InputValue)>,
    /// Predefined variables that only this way of asking has.
    pub(crate) more: Vec<Variable>,
    /// The schedule that asks.
    pub(crate) schedule: Option<i64>,
}

impl Wish {
    /// Makes a wish for a branch or tag without anything else.
    pub(crate) fn new(ref_name: impl Into<String>, source: Source) -> Self {
        Self {
            ref_name: ref_name.into(),
            source,
            variables: Vec::new(),
            inputs: Vec::new(),
            more: Vec::new(),
            schedule: None,
        }
    }
}

/// What is to become of a push or a request.
pub(super) enum Verdict {
    Jobs(Vec<NewJob>),
    Skipped,
    Invalid,
}

/// A pipeline that is to be made.
pub(super) struct Draft {
    pub(super) new: NewPipeline,
    pub(super) planned: Planned,
    pub(super) verdict: Verdict,
    pub(super) url_base: String,
}

impl Ci {
    /// Deals with a push that the event log tells of. May be called again for the same event.
    #[tracing::instrument(skip_all, name = "push", fields(
        event.id = %event.id,
        project.id = event.what.project.map(|it| it.0),
        trace.id = event.what.trace.map(|it| it.trace_id())
    ))]
    pub(crate) async fn handle_push(&self, event: &Event) -> Result<(), CiError> {
        let id = event.id.to_string();
        let key = id.clone();
        let progress: Progress = self
            .db
            .read("ci_push_progress", move |tx| {
                Ok::<_, CiError>(store::push::progress(tx, &key)?)
            })
            .await?;
        let begun = match progress {
            Progress::Done => return Ok(()),
            Progress::Begun(pipeline) => Some(pipeline),
            Progress::New => None,
        };
        match self.draft_of_push(event).await? {
            Ok(draft) => self.make(draft, Some(id), begun).await.map(drop),
            Err(lines) => {
                self.db
                    .write("ci_push_finish", move |tx| {
                        Ok::<_, CiError>(store::push::finish(tx, &id, None, &lines)?)
                    })
                    .await
            }
        }
    }

    /// Returns the pipeline to make, or what to say of there being none.
    async fn draft_of_push(&self, event: &Event) -> Result<Result<Draft, Vec<String>>, CiError> {
        let nothing = Ok(Err(Vec::new()));
        let change: RefChange = match serde_json::from_value(event.what.payload.clone()) {
            Ok(change) => change,
            Err(source) => {
                return Err(CiError::Data {
                    what: "the payload of a push",
                    source,
                });
            }
        };
        let Some(push) = Push::of(&change) else {
            return nothing;
        };
        if change.position >= PIPELINES_PER_PUSH {
            return Ok(Err(too_many(change.position)));
        }
        let Some(project_id) = event.what.project else {
            return nothing;
        };
        let Some(project) = self.directory.load_project(project_id).await? else {
            return nothing;
        };
        // A tag may be an object of its own.
        let Some((commit, _)) = self.forge.resolve(project_id, push.after.as_str()).await? else {
            return nothing;
        };
        let Some(commit) = self.forge.commit(project_id, &commit).await? else {
            return nothing;
        };
        let skip = push.skip || skip_ci(&commit.message);
        let occasion = Occasion {
            protected: self.forge.is_protected(project_id, &push.reference).await?,
            project,
            commit,
            ref_name: push.ref_name,
            tag: push.tag,
            before: push.before,
            source: Source::Push,
            user: change.user.map(rave_core::id::UserId),
            variables: push.variables,
            inputs: push.inputs,
            predefined: None,
            more: Vec::new(),
            reach: Reach::Everything,
            schedule: None,
            parent: None,
        };
        let Some(reading) = self.read_plan(&occasion).await? else {
            return nothing;
        };
        Ok(self
            .draft(occasion, reading, skip, event.what.trace)
            .map_err(|refusal| refusal.lines))
    }

    /// Makes a pipeline for a branch or tag because somebody asks.
    #[tracing::instrument(skip_all, name = "create_pipeline", fields(project.id = access.project().id.0))]
    pub(crate) async fn create_pipeline(
        &self,
        access: &Access<RunPipelines>,
        wish: Wish,
    ) -> Result<Pipeline, CiError> {
        let project = access.project().clone();
        let draft = self.draft_of_wish(access, wish).await?;
        let id = self.make(draft, None, None).await?;
        let found = self
            .db
            .read("ci_created", move |tx| {
                Ok::<_, CiError>(store::pipeline::find(tx, project.id, id)?)
            })
            .await?;
        found.ok_or(CiError::NotFound("Pipeline"))
    }

    /// Returns the pipeline to make. An invalid file is an error for whoever waits for the answer, and a failed pipeline
    /// where nobody does.
    pub(super) async fn draft_of_wish(
        &self,
        access: &Access<RunPipelines>,
        wish: Wish,
    ) -> Result<Draft, CiError> {
        let answered = matches!(wish.source, Source::Api | Source::Web);
        let user = access.principal().user_id();
        let occasion = self.occasion(access.project(), wish, user).await?;
        self.need_change(access, &occasion).await?;
        let Some(reading) = self.read_plan(&occasion).await? else {
            return Err(CiError::NoPipeline(vec![
                "Missing CI config file".to_owned(),
            ]));
        };
        let trace = Some(TraceContext::start());
        let draft = self
            .draft(occasion, reading, false, trace)
            .map_err(|refusal| CiError::NoPipeline(refusal.reasons))?;
        if answered && !draft.planned.errors.is_empty() {
            let errors = draft
                .planned
                .errors
                .iter()
                .map(ToString::to_string)
                .collect();
            return Err(CiError::NoPipeline(errors));
        }
        Ok(draft)
    }

    /// Checks that the caller may change the branch or tag that a pipeline is for.
    pub(super) async fn need_change(
        &self,
        access: &Access<RunPipelines>,
        occasion: &Occasion,
    ) -> Result<(), CiError> {
        if !occasion.protected || access.principal().is_admin() {
            return Ok(());
        }
        let kind = if occasion.tag { "tags" } else { "heads" };
        let name = &occasion.ref_name;
        let full = RefName::parse(&format!("refs/{kind}/{name}")).expect("it was resolved");
        let (project, role) = (occasion.project.id, access.role());
        if self.forge.may_change(project, &full, role).await? {
            return Ok(());
        }
        Err(CiError::NoPipeline(vec![format!(
            "You do not have sufficient permission to run a pipeline on '{name}'. Please select a different branch or \
             contact your administrator for assistance."
        )]))
    }

    /// Resolves a branch or tag to what a pipeline for it would be made from.
    pub(crate) async fn occasion(
        &self,
        project: &Project,
        wish: Wish,
        user: Option<rave_core::id::UserId>,
    ) -> Result<Occasion, CiError> {
        let missing = || CiError::NoPipeline(vec!["Reference not found".to_owned()]);
        let resolved = self.forge.resolve(project.id, &wish.ref_name).await?;
        let (id, Some(full)) = resolved.ok_or_else(missing)? else {
            return Err(missing());
        };
        let commit = self
            .forge
            .commit(project.id, &id)
            .await?
            .ok_or_else(missing)?;
        let (short, tag) = match (full.branch(), full.tag()) {
            (Some(branch), _) => (branch.to_owned(), false),
            (_, Some(tag)) => (tag.to_owned(), true),
            _ => return Err(missing()),
        };
        Ok(Occasion {
            protected: self.forge.is_protected(project.id, &full).await?,
            project: project.clone(),
            commit,
            ref_name: short,
            tag,
            before: zero(),
            source: wish.source,
            user,
            variables: wish.variables,
            inputs: wish.inputs,
            predefined: None,
            more: wish.more,
            reach: Reach::Everything,
            schedule: wish.schedule,
            parent: None,
        })
    }

    /// Judges a reading: a pipeline to make, or why there is none.
    pub(super) fn draft(
        &self,
        occasion: Occasion,
        reading: Reading,
        skip: bool,
        trace: Option<TraceContext>,
    ) -> Result<Draft, Refusal> {
        let mut planned = Planned {
            config: Some(reading.text),
            predefined: reading.predefined,
            variables: occasion.variables,
            origin: reading.origin.as_ref().and_then(Origin::pack),
            ..Planned::default()
        };
        let verdict = match reading.compiled {
            _ if skip => Verdict::Skipped,
            Err(errors) => {
                planned.errors = errors.0;
                Verdict::Invalid
            }
            Ok(compiled) => match compiled.outcome {
                Outcome::Pipeline(plan) => {
                    planned.notices = compiled.notices;
                    planned.name = plan.name.clone();
                    planned.on_new_commit = Some(OnNewCommit::of(plan.auto_cancel));
                    planned.on_job_failure = Some(OnJobFailure::of(plan.auto_cancel));
                    let above = [&reading.project_variables[..], &planned.variables].concat();
                    let (stages, jobs) = self.jobs_of(plan, &planned.predefined, &above);
                    planned.stages = stages;
                    Verdict::Jobs(jobs)
                }
                outcome => return Err(Refusal::of(&outcome, &compiled.notices)),
            },
        };
        let url_base = format!("{}/{}", self.config.external_url, occasion.project.path);
        let new = NewPipeline {
            project: occasion.project.id,
            ref_name: occasion.ref_name,
            tag: occasion.tag,
            protected: occasion.protected,
            sha: occasion.commit.id.as_str().to_owned(),
            before_sha: occasion.before.as_str().to_owned(),
            source: occasion.source,
            user: occasion.user,
            schedule: occasion.schedule,
            trace,
            upstream: None,
        };
        Ok(Draft {
            new,
            planned,
            verdict,
            url_base,
        })
    }

    /// Makes the pipeline of a draft, from where an earlier try at the same push left off.
    pub(super) async fn make(
        &self,
        draft: Draft,
        event: Option<String>,
        begun: Option<PipelineId>,
    ) -> Result<PipelineId, CiError> {
        let id = match begun {
            Some(id) => id,
            None => self.begin(&draft.new, event.clone()).await?,
        };
        if let Verdict::Jobs(_) = draft.verdict {
            // Before any runner can see the jobs: the branch may move on at once.
            let commit = ObjectId::parse(&draft.new.sha).expect("the forge names objects");
            self.forge.keep(draft.new.project, id, &commit).await?;
        }
        let rules = Rules::of(&self.config);
        let (project, planned) = (draft.new.project, &draft.planned);
        let seal = |column, variables| store::given::seal(&self.key, id, column, variables);
        let sealed = Sealed {
            predefined: seal("predefined", &planned.predefined)?,
            variables: seal("variables", &planned.variables)?,
        };
        let applied = self
            .db
            .write("ci_publish", move |tx| {
                publish(tx, &rules, id, &draft, &sealed, event.as_deref())
            })
            .await?;
        if let Some(applied) = applied {
            self.note(&applied);
        }
        self.metrics.pipeline_made();
        self.directory.touch_project(project, self.now()).await?;
        tracing::info!(
            pipeline.id = id.0,
            project.id = project.0,
            "made a pipeline"
        );
        Ok(id)
    }

    async fn begin(&self, new: &NewPipeline, event: Option<String>) -> Result<PipelineId, CiError> {
        let new = new.clone();
        self.db
            .write("ci_begin", move |tx| {
                let (id, _) = store::pipeline::insert(tx, &new)?;
                if let Some(event) = event {
                    store::push::begin(tx, &event, id)?;
                }
                Ok(id)
            })
            .await
    }
}

/// Makes everything about a pipeline visible at once. Returns the graph's first step, if it has jobs.
fn publish(
    tx: &mut Tx<'_>,
    rules: &Rules,
    id: PipelineId,
    draft: &Draft,
    sealed: &Sealed,
    event: Option<&str>,
) -> Result<Option<Applied>, CiError> {
    let (new, planned) = (&draft.new, &draft.planned);
    let url = format!("{}/-/pipelines/{id}", draft.url_base);
    let (status, failure, report) = match &draft.verdict {
        Verdict::Jobs(_) => (
            Status::Created,
            None,
            report::created(id, &url, &planned.notices),
        ),
        Verdict::Skipped => (Status::Skipped, None, report::skipped(id, &url)),
        Verdict::Invalid => {
            let report = report::failed(id, &url, &planned.errors);
            (Status::Failed, Some(PipelineFailure::Config), report)
        }
    };
    store::pipeline::publish(tx, id, status, failure, planned, sealed)?;
    if let Some(origin) = &planned.origin {
        store::origin::insert(tx, id, origin)?;
    }
    if let Verdict::Jobs(jobs) = &draft.verdict {
        store::job::insert_all(tx, id, new.project, new.protected, new.user, jobs)?;
    }
    if let Some(event) = event {
        store::push::finish(tx, event, Some(id), &report)?;
    }
    if new.source != Source::ParentPipeline {
        store::chore::insert(tx, ChoreKind::Redundant, id)?;
    }
    tx.append(created_event(new.project, id, new, status, &planned.errors))?;
    match draft.verdict {
        Verdict::Jobs(_) => {
            let applied = advance::apply(tx, rules, id, Action::Settle)?;
            Ok(Some(Applied {
                chores: true,
                ..applied
            }))
        }
        Verdict::Skipped | Verdict::Invalid => Ok(None),
    }
}

fn created_event(
    project: ProjectId,
    id: PipelineId,
    new: &NewPipeline,
    status: Status,
    errors: &[Diagnostic],
) -> NewEvent {
    let payload = json!({
        "id": id.0,
        "ref": new.ref_name,
        "tag": new.tag,
        "sha": new.sha,
        "source": new.source.label(),
        "status": status.label(),
        "errors": errors.len(),
    });
    NewEvent::new(EventKind::PipelineCreated, format!("pipeline/{id}"))
        .project(project)
        .payload(payload)
        .trace(new.trace)
}

/// Why a valid file makes no pipeline.
pub(super) struct Refusal {
    pub(super) reasons: Vec<String>,
    lines: Vec<String>,
}

impl Refusal {
    fn of(outcome: &Outcome, notices: &[Diagnostic]) -> Self {
        let reason = outcome.refusal().unwrap_or("There is no job to run.");
        Self {
            reasons: vec![reason.to_owned()],
            lines: report::refused(reason, notices),
        }
    }
}

/// One branch or tag that got a commit.
struct Push {
    reference: RefName,
    ref_name: String,
    tag: bool,
    before: ObjectId,
    after: ObjectId,
    skip: bool,
    variables: Vec<Variable>,
    inputs: Vec<(String, InputValue)>,
}

impl Push {
    /// Reads a change. `None` for what makes no pipelines: deletions, other kinds of refs, `ci.no_pipeline`.
    fn of(change: &RefChange) -> Option<Self> {
        let reference = RefName::parse(&change.reference).ok()?;
        let after = ObjectId::parse(&change.after)
            .ok()
            .filter(|it| !it.is_zero())?;
        let before = ObjectId::parse(&change.before).unwrap_or_else(|_| zero());
        let (ref_name, tag) = match (reference.branch(), reference.tag()) {
            (Some(branch), _) => (branch.to_owned(), false),
            (_, Some(tag)) => (tag.to_owned(), true),
            _ => return None,
        };
        let option = |name: &str| change.options.iter().any(|it| it == name);
        if option("ci.no_pipeline") {
            return None;
        }
        let skip = option("ci.skip");
        let variables = change
            .options
            .iter()
            .filter_map(|it| variable_option(it))
            .collect();
        let input = |it: &String| {
            let (name, value) = pair_option(it, "ci.input=")?;
            Some((name.to_owned(), InputValue::Text(value.to_owned())))
        };
        let inputs = change.options.iter().filter_map(input).collect();
        Some(Self {
            ref_name,
            tag,
            before,
            after,
            skip,
            variables,
            inputs,
            reference,
        })
    }
}

/// Reads `ci.variable="K=V"`, with or without the quotes.
fn variable_option(option: &str) -> Option<Variable> {
    let (key, value) = pair_option(option, "ci.variable=")?;
    is_key(key).then(|| Variable {
        key: key.to_owned(),
        value: value.to_owned(),
        ..Variable::default()
    })
}

/// Reads `NAME"K=V"`, with or without the quotes.
fn pair_option<'a>(option: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let given = option.strip_prefix(name)?;
    let unquoted = given.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    unquoted.unwrap_or(given).split_once('=')
}

/// What the person who pushed very many references reads, once.
fn too_many(position: usize) -> Vec<String> {
    let line = format!(
        "Only the first {PIPELINES_PER_PUSH} branches and tags of a push get pipelines; start others with Run pipeline"
    );
    if position == PIPELINES_PER_PUSH {
        vec![line]
    } else {
        Vec::new()
    }
}

fn zero() -> ObjectId {
    ObjectId::parse(ObjectId::ZERO).expect("zeros are an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(reference: &str, after: &str, options: &[&str]) -> RefChange {
        RefChange {
            reference: reference.into(),
            before: ObjectId::ZERO.into(),
            after: after.into(),
            user: Some(1),
            options: options.iter().map(ToString::to_string).collect(),
            position: 0,
        }
    }

    const COMMIT: &str = "1234567890123456789012345678901234567890";

    #[test]
    fn only_branches_and_tags_with_commits_make_pipelines() {
        let push = |reference: &str, after: &str| Push::of(&change(reference, after, &[]));
        let branch = push("refs/heads/feature/x", COMMIT).expect("a push");
        assert_eq!((branch.ref_name.as_str(), branch.tag), ("feature/x", false));
        assert!(push("refs/tags/v1", COMMIT).expect("a push").tag);
        assert!(push("refs/heads/x", ObjectId::ZERO).is_none());
        assert!(push("refs/pipelines/1", COMMIT).is_none());
        assert!(Push::of(&change("refs/heads/x", COMMIT, &["ci.no_pipeline"])).is_none());
    }

    #[test]
    fn push_options_skip_and_bring_variables() {
        let options = [
            "ci.skip",
            "ci.variable=\"A=b=c\"",
            "ci.variable=B=1",
            "ci.variable=no",
            "ci.input=level=3",
            "x",
        ];
        let push = Push::of(&change("refs/heads/x", COMMIT, &options)).expect("a push");
        let list: Vec<_> = push
            .variables
            .iter()
            .map(|it| (it.key.as_str(), it.value.as_str()))
            .collect();
        assert!(push.skip);
        assert_eq!(list, [("A", "b=c"), ("B", "1")]);
        let level = ("level".to_owned(), InputValue::Text("3".to_owned()));
        assert_eq!(push.inputs, [level]);
    }
}
