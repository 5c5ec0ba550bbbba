//! From the files as they are to the plan of what is to run.

use std::collections::BTreeSet;
use std::sync::Arc;

use rave_ci::local::LocalRun;
use rave_ci_lang::{
    Compiled, ForeignNeed, JobPlan, Needed, NotSelected, Outcome, Plan, Selection, Variable, When,
};

use super::snapshot::Snapshot;
use super::{RunArgs, show};
use crate::ci::Session;
use crate::ci::tree::Changes;
use crate::config::Executor;
use crate::failure::{Usage, hinted};
use crate::terminal::say;

/// What is to be run: the plan, with the names of the jobs to start by hand.
pub(super) struct Prepared {
    pub(super) run: LocalRun,
    pub(super) play: BTreeSet<String>,
    /// The branch or tag by its full name.
    pub(super) reference: String,
}

/// What a watcher wants again after a change.
#[derive(Debug)]
pub(super) struct Again {
    /// The paths that changed.
    pub(super) changed: Vec<String>,
    /// The names of the jobs that this affects.
    pub(super) names: Vec<String>,
    /// These jobs as they are in a pipeline of this change, where they are in one.
    pub(super) jobs: Vec<JobPlan>,
}

/// Returns which jobs the arguments want, and what they need besides.
pub(super) fn selection(args: &RunArgs) -> Selection {
    Selection {
        jobs: args.jobs.clone(),
        stages: args.stages.clone(),
        needed: if args.needs {
            Needed::All
        } else {
            Needed::Nothing
        },
    }
}

/// Plans the pipeline, or the wanted part of it. For a run again, the session's tree lets all conditions on changes hold.
/// `None` when there is nothing to run, which has been said.
pub(super) fn prepare(
    args: &RunArgs,
    again: Option<&Again>,
    session: &mut Session,
    snapshot: &Snapshot,
) -> anyhow::Result<Option<Prepared>> {
    let context = &mut session.occasion.context;
    set(
        &mut context.predefined,
        "CI_COMMIT_SHA",
        snapshot.commit.as_str(),
    );
    set(
        &mut context.predefined,
        "CI_COMMIT_SHORT_SHA",
        snapshot.commit.short(),
    );
    if snapshot.partial {
        // Older commits may lack files.
        context.predefined.push(Variable::public("GIT_DEPTH", "1"));
    }
    let Compiled {
        outcome, notices, ..
    } = session.compile().map_err(|it| session.invalid(&it))?;
    let refusal = outcome.refusal();
    let Outcome::Pipeline(mut plan) = outcome else {
        let refusal = refusal.unwrap_or("There is no job to run.");
        // Whoever names a job does not expect that nothing happens.
        anyhow::ensure!(args.jobs.is_empty(), refusal);
        say(refusal);
        return Ok(None);
    };
    let asked = selection(args);
    let selection = match again {
        Some(again) => Selection {
            jobs: again.names.clone(),
            stages: Vec::new(),
            needed: Needed::Artifacts,
        },
        None => asked.clone(),
    };
    let by_hand = Selection {
        jobs: args.manual.clone(),
        ..Selection::default()
    };
    let mut named = match again {
        // What a change affects nobody has named.
        Some(_) if asked.is_everything() => Vec::new(),
        Some(_) => plan.known(&asked),
        None => plan
            .named(&asked)
            .map_err(|it| not_selected(&it, &plan, &session.text))?,
    };
    named.extend(
        plan.named(&by_hand)
            .map_err(|it| not_selected(&it, &plan, &session.text))?,
    );
    plan.select(&selection)
        .map_err(|it| not_selected(&it, &plan, &session.text))?;
    refuse_foreign(&plan)?;
    let mut tree = session.tree.clone();
    if let Some(again) = again {
        again.decide(&mut plan);
        // Children are planned anew.
        tree = tree.with_changes(Changes::Given(again.changed.clone()));
    }
    if selection.needed == Needed::All {
        named.extend(awaited(&plan));
    }
    for job in &mut plan.jobs {
        // Whoever names a job wants it to run.
        if job.when == When::OnFailure && named.contains(&job.name) {
            job.when = When::Always;
        }
        if args.place.no_cache {
            job.cache.clear();
        }
    }
    let context = &session.occasion.context;
    let kind = if context.tag { "tags" } else { "heads" };
    Ok(Some(Prepared {
        reference: format!("refs/{kind}/{}", context.ref_name),
        play: named.into_iter().collect(),
        run: LocalRun {
            commit: snapshot.commit.clone(),
            event: context.clone(),
            config: session.text.clone(),
            plan,
            notices,
            tree: Arc::new(tree),
        },
    }))
}

impl Again {
    /// Puts jobs as this change has them in the place of those of a pipeline in which everything has changed. Which jobs
    /// they get artifacts from stays: those were not affected, but are there.
    fn decide(&self, plan: &mut Plan) {
        for job in &mut plan.jobs {
            if let Some(decided) = self.jobs.iter().find(|it| it.name == job.name) {
                *job = JobPlan {
                    needs: job.needs.take(),
                    dependencies: job.dependencies.take(),
                    ..decided.clone()
                };
            }
        }
    }
}

/// Refuses jobs that get artifacts from where this machine has none.
fn refuse_foreign(plan: &Plan) -> anyhow::Result<()> {
    let foreign = |job: &JobPlan| {
        job.foreign_needs.iter().find_map(|it| match it {
            ForeignNeed::Project {
                project,
                job,
                artifacts: true,
                ..
            } => Some((project.clone(), job.clone())),
            // Those of the parent pipeline are there.
            ForeignNeed::Project { .. } | ForeignNeed::Pipeline { .. } => None,
        })
    };
    let mut found = plan.jobs.iter().filter_map(|it| Some((it, foreign(it)?)));
    let Some((job, (project, needed))) = found.next() else {
        return Ok(());
    };
    let others = plan.jobs.iter().filter(|it| foreign(it).is_none());
    let others: Vec<String> = others.map(|it| show::quoted(&it.name)).collect();
    let hint = if others.is_empty() {
        "it runs on the server only; `rave ci explain` and `rave ci graph` work here".to_owned()
    } else {
        format!("run the others: rave ci run {}", others.join(" "))
    };
    let text = format!(
        "the job {:?} gets the artifacts of {:?} in the project {}, which a run of a working tree cannot fetch",
        job.name, needed, project
    );
    Err(hinted(text, hint, None))
}

/// Returns the manual jobs that others wait for.
fn awaited(plan: &Plan) -> Vec<String> {
    let needed = |name: &str| {
        let needs = plan
            .jobs
            .iter()
            .filter_map(|it| it.needs.as_ref())
            .flatten();
        needs.into_iter().any(|it| it.job == name)
    };
    let manual = plan.jobs.iter().filter(|it| it.when == When::Manual);
    let blocks = manual.filter(|it| !it.allow_failure || needed(&it.name));
    blocks.map(|it| it.name.clone()).collect()
}

fn set(variables: &mut [Variable], key: &str, value: &str) {
    for variable in variables.iter_mut().filter(|it| it.key == key) {
        value.clone_into(&mut variable.value);
    }
}

fn not_selected(error: &NotSelected, plan: &Plan, text: &str) -> anyhow::Error {
    let names: Vec<String> = plan.jobs.iter().map(|it| it.name.clone()).collect();
    let (message, hint) = match error {
        NotSelected::Job(name) if text.lines().any(|it| it.starts_with(&format!("{name}:"))) => (
            format!("the pipeline of this event has no job {name:?}"),
            format!(
                "`rave ci explain {}` says why; --event and --ref name another event",
                show::quoted(name)
            ),
        ),
        NotSelected::Job(name) => (
            format!("there is no job {name:?}"),
            format!("the jobs are {}", show::list(&names)),
        ),
        NotSelected::Stage(name) => {
            let mut stages: Vec<String> = plan.jobs.iter().map(|it| it.stage.clone()).collect();
            stages.dedup();
            (
                format!("no job is in the stage {name:?}"),
                format!("stages with jobs are {}", show::list(&stages)),
            )
        }
    };
    Usage(hinted(message, hint, None)).into()
}

impl Prepared {
    /// Says once what jobs ask for and do not get from an executor without images.
    pub(super) fn say_unused(&self, executor: Option<Executor>) {
        if executor != Some(Executor::Shell) {
            return;
        }
        let plan = &self.run.plan;
        let images: BTreeSet<&str> = plan
            .jobs
            .iter()
            .filter_map(|it| it.image.as_ref())
            .map(|it| it.name.as_str())
            .collect();
        let services: BTreeSet<&str> = plan
            .jobs
            .iter()
            .flat_map(|it| &it.services)
            .map(|it| it.image.name.as_str())
            .collect();
        for (what, names) in [("image", images), ("service", services)] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let plural = if names.len() == 1 { "" } else { "s" };
            if !names.is_empty() {
                say(&format!(
                    "Jobs run on this machine, without the {what}{plural} {}",
                    show::list(&names)
                ));
            }
        }
    }
}
