//! From a commit to a plan: reads what the language asks for and makes the nodes of the graph.

use std::collections::BTreeMap;

use rave_ci_lang::{
    Compiled, Diagnostic, Diagnostics, EventContext, FormInput, Included, InputValue, JobPlan,
    Limits, MergedFile, Plan, Recording, SourceFile, Variable,
};
use rave_core::id::PipelineId;
use rave_core::job::{JobState, When};
use rave_core::name::{ObjectId, RepoPath};
use rave_core::permission::Project;
use rave_core::pipeline::{Node, Road};
use rave_core::port::{Commit, ForgeError};

use super::Ci;
use super::memory;
use super::origin::Origin;
use super::settings::{Reach, hide};
use crate::config::millis;
use crate::error::CiError;
use crate::model::Source;
use crate::store::job::NewJob;
use crate::variables::{self, CONFIG_PATH, PipelineFacts};

/// What a pipeline is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Occasion {
    pub(crate) project: Project,
    pub(crate) commit: Commit,
    /// Short name of the branch or tag.
    pub(crate) ref_name: String,
    pub(crate) tag: bool,
    pub(crate) protected: bool,
    /// All zeros for a new ref or a manual run.
    pub(crate) before: ObjectId,
    pub(crate) source: Source,
    pub(crate) user: Option<rave_core::id::UserId>,
    pub(crate) variables: Vec<Variable>,
    /// Inputs for the header of the file.
    pub(crate) inputs: Vec<(String, InputValue)>,
    /// What takes the place of the predefined variables that follow from all this.
    pub(crate) predefined: Option<Vec<Variable>>,
    /// Predefined variables that only this way of asking for a pipeline has.
    pub(crate) more: Vec<Variable>,
    /// Which of the project's variables may show in what is planned.
    pub(crate) reach: Reach,
    /// The schedule that asks.
    pub(crate) schedule: Option<i64>,
    /// The pipeline that this one is to be a child of.
    pub(crate) parent: Option<PipelineId>,
}

/// A file and what it means on an occasion.
pub(crate) struct Reading {
    pub(crate) text: String,
    pub(crate) predefined: Vec<Variable>,
    /// What instance, groups and project give.
    pub(crate) project_variables: Vec<Variable>,
    pub(crate) compiled: Result<Compiled, Diagnostics>,
    /// The file with everything merged into it. `None`: it could not be merged.
    pub(crate) merged: Option<MergedFile>,
    pub(crate) includes: Vec<Included>,
    /// What the file's header asks for.
    pub(crate) inputs: Vec<FormInput>,
    /// What the plan was made from. `None`: no file was read.
    pub(crate) origin: Option<Origin>,
}

impl Ci {
    /// Reads and compiles the file of a commit. `None` when the commit has none.
    pub(crate) async fn read_plan(&self, occasion: &Occasion) -> Result<Option<Reading>, CiError> {
        let path = RepoPath::parse(CONFIG_PATH).expect("the path is relative");
        let limits = self.config.limits;
        let (project, commit) = (occasion.project.id, &occasion.commit.id);
        let file = match self
            .forge
            .read_file(project, commit, &path, limits.file_bytes as u64)
            .await
        {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(ForgeError::TooLarge { size_bytes, .. }) => {
                return Ok(Some(too_large(size_bytes, &limits)));
            }
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8_lossy(&file).into_owned();
        self.compile(occasion, text).await.map(Some)
    }

    /// Compiles a text as if it were the file of the occasion's commit.
    pub(crate) async fn compile(
        &self,
        occasion: &Occasion,
        text: String,
    ) -> Result<Reading, CiError> {
        let mut predefined = match &occasion.predefined {
            Some(known) => known.clone(),
            None => self.predefined(occasion).await?,
        };
        predefined.extend_from_slice(&occasion.more);
        let mut project_variables = match occasion.reach {
            Reach::Nothing => Vec::new(),
            reach => {
                let protected = occasion.protected && reach == Reach::Everything;
                self.variables_of_project(&occasion.project, protected, None)
                    .await?
            }
        };
        if let Some(around) = self.surroundings() {
            project_variables.extend(around.variables);
        }
        let event = EventContext {
            source: occasion.source.label().to_owned(),
            ref_name: occasion.ref_name.clone(),
            tag: occasion.tag,
            project_path: occasion.project.path.as_str().to_owned(),
            predefined: predefined.clone(),
            project_variables: project_variables.clone(),
            pipeline_variables: occasion.variables.clone(),
            inputs: occasion.inputs.clone(),
            child: occasion.parent.is_some(),
            server_fqdn: predefined
                .iter()
                .rev()
                .find(|it| it.key == "CI_SERVER_FQDN")
                .map(|it| it.value.clone())
                .unwrap_or_default(),
        };
        let tree = self.commit_tree(occasion);
        let limits = self.config.limits;
        let (text, linted, origin, failure) = tokio::task::spawn_blocking(move || {
            let source = SourceFile {
                path: CONFIG_PATH,
                text: &text,
            };
            let recording = Recording::new(&tree);
            let linted = rave_ci_lang::lint(&source, &event, &recording, &limits);
            let origin = Origin::new(&event, recording.into_answers());
            (text, linted, origin, tree.into_failure())
        })
        .await?;
        let mut compiled = linted.compiled;
        hide_secrets(&mut compiled, &project_variables);
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(Reading {
                text,
                predefined,
                project_variables,
                compiled,
                merged: linted.merged,
                includes: linted.includes,
                inputs: linted.inputs,
                origin: Some(origin),
            }),
        }
    }

    async fn predefined(&self, occasion: &Occasion) -> Result<Vec<Variable>, CiError> {
        let namespace = self.directory.namespace(occasion.project.namespace).await?;
        let user = match occasion.user {
            Some(id) => self.directory.users(&[id]).await?.remove(&id),
            None => None,
        };
        Ok(variables::of_pipeline(&PipelineFacts {
            config: &self.config,
            project: &occasion.project,
            namespace: namespace.as_ref(),
            commit: &occasion.commit,
            user: user.as_ref(),
            source: occasion.source.label(),
            ref_name: &occasion.ref_name,
            tag: occasion.tag,
            protected: occasion.protected,
            before_sha: occasion.before.as_str(),
            created_at: self.now(),
        }))
    }

    /// Makes the jobs of a plan, in order.
    ///
    /// `above` are the variables that count more than those of the file, which may refer to the `predefined` ones.
    pub(crate) fn jobs_of(
        &self,
        plan: Plan,
        predefined: &[Variable],
        above: &[Variable],
    ) -> (Vec<String>, Vec<NewJob>) {
        let names: BTreeMap<String, usize> = plan
            .jobs
            .iter()
            .enumerate()
            .map(|(index, job)| (job.name.clone(), index))
            .collect();
        let timeout = millis(self.config.job_timeout);
        let jobs = plan
            .jobs
            .into_iter()
            .map(|job| NewJob {
                memory_asked: memory::asked_of(&job, predefined, above),
                ..new_job(job, &names, timeout)
            })
            .collect();
        (plan.stages, jobs)
    }
}

/// Whoever sees the pipeline reads its diagnostics, and an `include` that fails is named as it was expanded.
fn hide_secrets(compiled: &mut Result<Compiled, Diagnostics>, variables: &[Variable]) {
    let list = match compiled {
        Ok(compiled) => &mut compiled.notices,
        Err(errors) => &mut errors.0,
    };
    for diagnostic in list {
        diagnostic.message = hide(&diagnostic.message, variables);
        diagnostic.hint = diagnostic.hint.as_deref().map(|it| hide(it, variables));
    }
}

fn too_large(size_bytes: u64, limits: &Limits) -> Reading {
    let message = limits.file_too_large(size_bytes);
    let error = Diagnostic::about(rave_ci_lang::Severity::Error, CONFIG_PATH, message);
    Reading {
        text: String::new(),
        predefined: Vec::new(),
        project_variables: Vec::new(),
        compiled: Err(Diagnostics(vec![error])),
        merged: None,
        includes: Vec::new(),
        inputs: Vec::new(),
        origin: None,
    }
}

fn new_job(plan: JobPlan, names: &BTreeMap<String, usize>, default_timeout_ms: i64) -> NewJob {
    let needs = plan.needs.as_ref().map(|needs| {
        let known = needs.iter().filter_map(|it| names.get(&it.job).copied());
        known.collect()
    });
    let secs = |it: u64| i64::try_from(it).unwrap_or(i64::MAX).saturating_mul(1000);
    let node = Node {
        stage: plan.stage_index,
        needs,
        when: match plan.when {
            rave_ci_lang::When::OnSuccess => When::OnSuccess,
            rave_ci_lang::When::OnFailure => When::OnFailure,
            rave_ci_lang::When::Always => When::Always,
            rave_ci_lang::When::Manual => When::Manual,
            rave_ci_lang::When::Delayed => When::Delayed,
        },
        start_in_millis: plan.start_in_secs.map_or(0, secs),
        road: Road {
            resource: plan.resource_group.is_some(),
            bridge: plan.bridge.is_some(),
        },
        interruptible: plan.interruptible,
        allow_failure: plan.allow_failure,
        state: JobState::Created,
    };
    NewJob {
        timeout_ms: plan.timeout_secs.map_or(default_timeout_ms, secs),
        memory_asked: None,
        node,
        plan,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rave_ci_lang::Tree;

    use super::*;

    /// A job that only prints its name.
    pub(crate) fn job(name: &str) -> JobPlan {
        let event = EventContext {
            source: "push".into(),
            ref_name: "main".into(),
            ..EventContext::default()
        };
        let text = format!("{name}:\n  script: [echo {name}]\n");
        let source = SourceFile {
            path: CONFIG_PATH,
            text: &text,
        };
        let compiled = rave_ci_lang::compile(&source, &event, &Nothing, &Limits::default());
        match compiled.expect("the file is valid").outcome {
            rave_ci_lang::Outcome::Pipeline(mut plan) => plan.jobs.remove(0),
            other => panic!("{other:?}"),
        }
    }

    struct Nothing;

    impl Tree for Nothing {
        fn read(&self, _: &str) -> Option<String> {
            None
        }
        fn files(&self) -> Vec<String> {
            Vec::new()
        }
        fn changed(&self) -> Option<Vec<String>> {
            None
        }
    }
}
