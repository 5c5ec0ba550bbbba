//! Stored pipelines, explained and planned again: with the answers that the plan was made from, as far as they were kept.

use rave_ci_lang::{
    Answers, Diagnostic, Diagnostics, EventContext, Explanation, NotExplained, Outcome, PlanDiff,
    Replaying, SourceFile, Tree, Variable, Verdicts,
};
use rave_core::id::PipelineId;
use rave_core::name::ObjectId;
use rave_core::permission::{Access, Action, ReadCode, RunPipelines};
use serde_json::Value;

use super::Ci;
use super::origin::Origin;
use super::plan::Occasion;
use super::settings::{Reach, hide};
use crate::error::CiError;
use crate::model::Pipeline;
use crate::store;
use crate::variables::CONFIG_PATH;

/// Why a pipeline is as it is.
#[derive(Clone, Debug)]
pub(crate) enum Why {
    Jobs(Box<Verdicts>),
    Job(Box<Explanation>),
}

/// Why a pipeline is as it is, and what may be different now.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    pub(crate) pipeline: Pipeline,
    pub(crate) why: Why,
    pub(crate) notes: Vec<String>,
}

/// What another text would have made of a stored pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Replayed {
    /// The errors of the other text, or the difference as JSON.
    pub(crate) result: Result<Value, Diagnostics>,
    pub(crate) notices: Vec<Diagnostic>,
    pub(crate) notes: Vec<String>,
}

/// A stored pipeline with everything that its plan needs.
struct Stored {
    pipeline: Pipeline,
    text: String,
    event: EventContext,
    answers: Answers,
    occasion: Occasion,
    notes: Vec<String>,
}

impl Ci {
    /// Explains a job of a stored pipeline, or says of every job of its file whether the event got it.
    pub(crate) async fn explain_pipeline(
        &self,
        access: &Access<ReadCode>,
        pipeline: PipelineId,
        job: Option<String>,
    ) -> Result<Explained, CiError> {
        let stored = self.stored(access, pipeline).await?;
        let (pipeline, notes) = (stored.pipeline.clone(), stored.notes.clone());
        let limits = self.config.limits;
        let why = self
            .planning(stored, move |text, event, tree| {
                let source = source(text);
                let invalid = |errors: Diagnostics| CiError::NoPipeline(lines(&errors.0));
                match job {
                    None => rave_ci_lang::verdicts(&source, event, tree, &limits)
                        .map(|it| Why::Jobs(Box::new(it)))
                        .map_err(invalid),
                    Some(job) => rave_ci_lang::explain(&source, event, tree, &limits, &job)
                        .map(|it| Why::Job(Box::new(it)))
                        .map_err(|error| match error {
                            NotExplained::Invalid(errors) => invalid(errors),
                            NotExplained::NoSuchJob { .. } => CiError::NotFound("Job"),
                        }),
                }
            })
            .await??;
        Ok(Explained {
            pipeline,
            why,
            notes,
        })
    }

    /// Plans a stored pipeline from another text. Nothing is made of it.
    pub(crate) async fn replay_pipeline(
        &self,
        access: &Access<RunPipelines>,
        pipeline: PipelineId,
        content: String,
    ) -> Result<Replayed, CiError> {
        let stored = self.stored(access, pipeline).await?;
        let notes = stored.notes.clone();
        let secrets = stored.event.project_variables.clone();
        let limits = self.config.limits;
        let (before, after) = self
            .planning(stored, move |text, event, tree| {
                let compile =
                    |text: &str| rave_ci_lang::compile(&source(text), event, tree, &limits);
                (compile(text), compile(&content))
            })
            .await?;
        // A file that was not valid made no jobs.
        let before = before.map_or(Outcome::NoJobs, |it| it.outcome);
        Ok(match after {
            Ok(compiled) => {
                let diff = PlanDiff::between(&before, &compiled.outcome);
                let mut diff = serde_json::to_value(diff).unwrap_or_default();
                hide_in(&mut diff, &secrets);
                Replayed {
                    result: Ok(diff),
                    notices: hidden(compiled.notices, &secrets),
                    notes,
                }
            }
            Err(errors) => Replayed {
                result: Err(Diagnostics(hidden(errors.0, &secrets))),
                notices: Vec::new(),
                notes,
            },
        })
    }

    /// Asks the language about a stored pipeline, on a thread that may wait.
    async fn planning<T: Send + 'static>(
        &self,
        stored: Stored,
        ask: impl FnOnce(&str, &EventContext, &dyn Tree) -> T + Send + 'static,
    ) -> Result<T, CiError> {
        let live = self.commit_tree(&stored.occasion);
        let (answer, failure) = tokio::task::spawn_blocking(move || {
            let tree = Replaying::new(stored.answers, &live);
            let answer = ask(&stored.text, &stored.event, &tree);
            (answer, live.into_failure())
        })
        .await?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    async fn stored<A: Action>(
        &self,
        access: &Access<A>,
        id: PipelineId,
    ) -> Result<Stored, CiError> {
        let project = access.project().clone();
        let (row, key) = (project.id, self.key.clone());
        let (side, config, packed) = self
            .db
            .read("ci_plan_origin", move |tx| {
                let inputs = store::pipeline::inputs(tx, &key, row, id)?;
                let (_, config) = inputs.ok_or(CiError::NotFound("Pipeline"))?;
                let side = store::pipeline::load_job_side(tx, &key, id)?;
                Ok::<_, CiError>((side, config, store::origin::find(tx, id)?))
            })
            .await?;
        let pipeline = side.pipeline;
        let text = config.ok_or(CiError::NotFound("Configuration"))?;
        let unknown = CiError::NotFound("Commit");
        let Ok(sha) = ObjectId::parse(&pipeline.sha) else {
            return Err(unknown);
        };
        let commit = self.forge.commit(project.id, &sha).await?.ok_or(unknown)?;
        let origin = packed.as_deref().and_then(Origin::unpack);
        // Only whether conditions hold is told of these, never their values.
        let project_variables = self
            .variables_of_project(&project, pipeline.protected, None)
            .await?;
        let occasion = Occasion {
            ref_name: pipeline.ref_name.clone(),
            tag: pipeline.tag,
            protected: pipeline.protected,
            before: ObjectId::parse(&pipeline.before_sha).unwrap_or_else(|_| sha.clone()),
            source: pipeline.source,
            // Whoever asks gets nothing that they could not read themselves.
            user: access.principal().user_id(),
            variables: side.variables.clone(),
            inputs: Vec::new(),
            predefined: None,
            more: Vec::new(),
            reach: Reach::Everything,
            schedule: None,
            parent: pipeline
                .upstream
                .filter(|_| pipeline.is_child())
                .map(|it| it.pipeline),
            project,
            commit,
        };
        let event = EventContext {
            predefined: side.predefined,
            pipeline_variables: side.variables,
            project_variables: project_variables.clone(),
            ..origin
                .as_ref()
                .map_or_else(|| event_of(&occasion), Origin::event)
        };
        Ok(Stored {
            notes: notes(origin.as_ref(), &project_variables),
            answers: origin.map(|it| it.answers).unwrap_or_default(),
            pipeline,
            text,
            event,
            occasion,
        })
    }
}

fn source(text: &str) -> SourceFile<'_> {
    SourceFile {
        path: CONFIG_PATH,
        text,
    }
}

fn lines(errors: &[Diagnostic]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Returns what is known of the event of a pipeline without an origin.
fn event_of(occasion: &Occasion) -> EventContext {
    EventContext {
        source: occasion.source.label().to_owned(),
        ref_name: occasion.ref_name.clone(),
        tag: occasion.tag,
        project_path: occasion.project.path.as_str().to_owned(),
        ..EventContext::default()
    }
}

/// Says what may be different from when the plan was made.
fn notes(origin: Option<&Origin>, now: &[Variable]) -> Vec<String> {
    let Some(origin) = origin else {
        return vec![
            "What this pipeline was planned from was not kept: files of other places are read as they are now.".to_owned(),
        ];
    };
    let then = &origin.project_variables;
    let gone = then
        .iter()
        .filter(|name| !now.iter().any(|it| it.key == **name));
    let mut come: Vec<&String> = now
        .iter()
        .map(|it| &it.key)
        .filter(|it| !then.contains(it))
        .collect();
    come.dedup();
    let mut notes = Vec::new();
    let mut note = |names: Vec<&String>, what: &str| {
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            notes.push(format!(
                "Variables that {what} since: {}.",
                names.join(", ")
            ));
        }
    };
    note(gone.collect(), "the project has lost");
    note(come, "the project has got");
    notes
}

fn hidden(diagnostics: Vec<Diagnostic>, secrets: &[Variable]) -> Vec<Diagnostic> {
    diagnostics
        .into_iter()
        .map(|it| Diagnostic {
            message: hide(&it.message, secrets),
            hint: it.hint.as_deref().map(|it| hide(it, secrets)),
            ..it
        })
        .collect()
}

/// Takes masked values out of every text of a value.
fn hide_in(value: &mut Value, secrets: &[Variable]) {
    match value {
        Value::String(text) => *text = hide(text, secrets),
        Value::Array(items) => items.iter_mut().for_each(|it| hide_in(it, secrets)),
        Value::Object(map) => map.values_mut().for_each(|it| hide_in(it, secrets)),
        _ => {}
    }
}
