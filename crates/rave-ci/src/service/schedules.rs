//! Schedules: kept by people, run by the clock or by hand.
//!
//! Running goes through the event log. Moving a schedule on to its next time and appending the event that asks for the
//! pipeline are one transaction, so whoever dies in between has done both or neither; and the event makes one pipeline,
//! as a push does, however often it is handled. Runs that were missed are made up for by one.

use rave_ci_lang::{InputValue, Variable};
use rave_core::event::{Event, EventKind, NewEvent};
use rave_core::id::UserId;
use rave_core::permission::{
    Access, Action, ManageProject, ReadPipelines, Role, RunPipelines, decide,
};
use rave_core::port::{Page, ProjectRef, Slice};
use rave_core::time::Timestamp;
use rave_core::trace::TraceContext;
use rave_store::Tx;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Ci;
use super::create::Wish;
use crate::cron::{self, Cron, InvalidCron};
use crate::error::CiError;
use crate::model::{Pipeline, Source};
use crate::setting::{Mistake, is_key};
use crate::store;
use crate::store::push::Progress;
use crate::store::schedule::Schedule;
use rave_core::sealing::SealingKey;

/// Most schedules of a project.
const LIMIT: u64 = 10;
/// Longest description and longest name of a ref.
const TEXT_CHARS: usize = 255;
/// Most variables of a schedule.
const VARIABLES: usize = 200;
/// Longest value of a variable.
const VALUE_CHARS: usize = 10_000;
/// Most inputs of a schedule.
const INPUTS: usize = 20;
/// How many schedules move on in one transaction.
const BATCH: u32 = 50;

/// What a schedule gives to its pipelines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) variables: Vec<Variable>,
    pub(crate) inputs: Vec<(String, InputValue)>,
}

/// What people decide about a schedule; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScheduleChange {
    pub(crate) description: Option<String>,
    pub(crate) ref_name: Option<String>,
    pub(crate) cron: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) active: Option<bool>,
    pub(crate) variables: Option<Vec<Variable>>,
    pub(crate) inputs: Option<Vec<(String, InputValue)>>,
}

impl ScheduleChange {
    fn apply(self, schedule: &mut Schedule, given: &mut Given) {
        fn put<T>(slot: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *slot = value;
            }
        }
        put(&mut schedule.description, self.description);
        put(&mut schedule.ref_name, self.ref_name);
        put(&mut schedule.cron, self.cron);
        put(&mut schedule.timezone, self.timezone);
        put(&mut schedule.active, self.active);
        put(&mut given.variables, self.variables);
        put(&mut given.inputs, self.inputs);
    }
}

/// The payload of [`EventKind::ScheduleDue`].
#[derive(Debug, Serialize, Deserialize)]
struct Due {
    schedule: i64,
    /// Who played it; `None` when its time came, which makes the pipeline its owner's.
    user: Option<i64>,
}

impl Ci {
    /// Lists the schedules of a project, each with its last pipeline.
    pub(crate) async fn list_schedules(
        &self,
        access: &Access<ReadPipelines>,
        active: Option<bool>,
        slice: Slice,
    ) -> Result<Page<(Schedule, Option<Pipeline>)>, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_schedules", move |tx| {
                let page = store::schedule::list(tx, project, active, slice)?;
                let mut items = Vec::with_capacity(page.items.len());
                for schedule in page.items {
                    let last = store::pipeline::last_of_schedule(tx, project, schedule.id)?;
                    items.push((schedule, last));
                }
                Ok(Page {
                    items,
                    total: page.total,
                })
            })
            .await
    }

    /// Returns a schedule with its last pipeline.
    pub(crate) async fn load_schedule<A: Action>(
        &self,
        access: &Access<A>,
        id: i64,
    ) -> Result<(Schedule, Option<Pipeline>), CiError> {
        let project = access.project().id;
        self.db
            .read("ci_schedule", move |tx| {
                let found = store::schedule::find(tx, project, id)?;
                let schedule = found.ok_or(MISSING)?;
                let last = store::pipeline::last_of_schedule(tx, project, id)?;
                Ok((schedule, last))
            })
            .await
    }

    /// Returns what a schedule gives, to its owner and those who manage the project; `None` to others.
    pub(crate) fn given_of<A: Action>(
        &self,
        access: &Access<A>,
        schedule: &Schedule,
    ) -> Result<Option<Given>, CiError> {
        if owns(access, schedule) || access.is_at_least(Role::Maintainer) {
            open(&self.key, schedule).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Makes a schedule that the caller owns. Returns its id.
    pub(crate) async fn create_schedule(
        &self,
        access: &Access<RunPipelines>,
        new: ScheduleChange,
    ) -> Result<i64, CiError> {
        let owner = access
            .principal()
            .user_id()
            .ok_or(CiError::Forbidden("only users own schedules"))?;
        let mut given = Given::default();
        let mut schedule = Schedule {
            id: 0,
            project: access.project().id,
            owner,
            description: String::new(),
            ref_name: String::new(),
            cron: String::new(),
            timezone: "UTC".to_owned(),
            active: true,
            sealed: Vec::new(),
            next_run_at: None,
            problem: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        new.apply(&mut schedule, &mut given);
        accept(&mut schedule, &given, self.now())?;
        schedule.sealed = seal(&self.key, &schedule, &given)?;
        let project = schedule.project;
        let id = self
            .db
            .write("ci_create_schedule", move |tx| {
                if store::schedule::total(tx, schedule.project)? >= LIMIT {
                    let why = format!("Maximum number of pipeline schedules ({LIMIT}) exceeded");
                    return Err(CiError::Rejected(vec![("base", why)]));
                }
                Ok(store::schedule::insert(tx, &schedule)?)
            })
            .await?;
        self.wakes.schedules.notify_one();
        tracing::info!(schedule.id = id, project.id = project.0, "made a schedule");
        Ok(id)
    }

    /// Changes a schedule. Only its owner may: what is changed runs with the owner's rights.
    pub(crate) async fn update_schedule(
        &self,
        access: &Access<RunPipelines>,
        id: i64,
        change: ScheduleChange,
    ) -> Result<(), CiError> {
        self.edit_schedule(access, id, move |schedule, given| {
            change.apply(schedule, given);
            Ok(())
        })
        .await
    }

    /// Changes what a schedule gives, in place.
    pub(crate) async fn edit_given<T: Send + 'static>(
        &self,
        access: &Access<RunPipelines>,
        id: i64,
        edit: impl FnOnce(&mut Given) -> Result<T, CiError> + Send + 'static,
    ) -> Result<T, CiError> {
        self.edit_schedule(access, id, move |_, given| edit(given))
            .await
    }

    async fn edit_schedule<T: Send + 'static>(
        &self,
        access: &Access<RunPipelines>,
        id: i64,
        edit: impl FnOnce(&mut Schedule, &mut Given) -> Result<T, CiError> + Send + 'static,
    ) -> Result<T, CiError> {
        let (access, key) = (access.clone(), self.key.clone());
        let edited = self
            .db
            .write("ci_update_schedule", move |tx| {
                let found = store::schedule::find(tx, access.project().id, id)?;
                let mut schedule = found.ok_or(MISSING)?;
                if !owns(&access, &schedule) {
                    return Err(CiError::Forbidden(
                        "only its owner changes a schedule; take ownership first",
                    ));
                }
                let mut given = open(&key, &schedule)?;
                let edited = edit(&mut schedule, &mut given)?;
                accept(&mut schedule, &given, tx.now())?;
                schedule.problem = None;
                schedule.sealed = seal(&key, &schedule, &given)?;
                store::schedule::update(tx, &schedule)?;
                Ok(edited)
            })
            .await?;
        self.wakes.schedules.notify_one();
        Ok(edited)
    }

    /// Makes a schedule the caller's own.
    pub(crate) async fn take_schedule(
        &self,
        access: &Access<ManageProject>,
        id: i64,
    ) -> Result<(), CiError> {
        let user = access
            .principal()
            .user_id()
            .ok_or(CiError::Forbidden("only users own schedules"))?;
        let project = access.project().id;
        self.db
            .write("ci_take_schedule", move |tx| {
                let found = store::schedule::find(tx, project, id)?;
                let schedule = Schedule {
                    owner: user,
                    ..found.ok_or(MISSING)?
                };
                Ok(store::schedule::update(tx, &schedule)?)
            })
            .await
    }

    /// Deletes a schedule, for its owner and those who manage the project.
    pub(crate) async fn delete_schedule(
        &self,
        access: &Access<RunPipelines>,
        id: i64,
    ) -> Result<(), CiError> {
        let (schedule, _) = self.load_schedule(access, id).await?;
        if !owns(access, &schedule) && !access.is_at_least(Role::Maintainer) {
            return Err(CiError::Forbidden("this schedule is somebody else's"));
        }
        self.db
            .write("ci_delete_schedule", move |tx| {
                Ok::<_, CiError>(store::schedule::delete(tx, id)?)
            })
            .await?;
        tracing::info!(schedule.id = id, "deleted a schedule");
        Ok(())
    }

    /// Runs a schedule now, as the caller. The pipeline comes a moment later.
    pub(crate) async fn play_schedule(
        &self,
        access: &Access<RunPipelines>,
        id: i64,
    ) -> Result<(), CiError> {
        let (schedule, _) = self.load_schedule(access, id).await?;
        let user = access.principal().user_id();
        self.db
            .write("ci_play_schedule", move |tx| {
                append_due(tx, &schedule, user)?;
                Ok(())
            })
            .await
    }

    /// Moves schedules whose time has come on, and lets each run once. Returns how many, and when the next one is due.
    pub(crate) async fn run_due_schedules(&self) -> Result<(usize, Option<Timestamp>), CiError> {
        self.db
            .write("ci_due_schedules", |tx| {
                let due = store::schedule::due(tx, BATCH)?;
                for schedule in &due {
                    let next = next_run(schedule, tx.now()).unwrap_or(None);
                    if store::schedule::advance(tx, schedule, next)? {
                        append_due(tx, schedule, None)?;
                    }
                }
                Ok((due.len(), store::schedule::next_due(tx)?))
            })
            .await
    }

    /// Makes the pipeline of a schedule that was due. May be called again for the same event.
    #[tracing::instrument(skip_all, name = "schedule", fields(
        event.id = %event.id,
        project.id = event.what.project.map(|it| it.0),
        trace.id = event.what.trace.map(|it| it.trace_id())
    ))]
    pub(crate) async fn handle_schedule(&self, event: &Event) -> Result<(), CiError> {
        let due: Due =
            serde_json::from_value(event.what.payload.clone()).map_err(|source| CiError::Data {
                what: "the payload of a schedule",
                source,
            })?;
        let key = event.id.to_string();
        let asked = key.clone();
        let Some(project) = event.what.project else {
            return Ok(());
        };
        let (progress, schedule) = self
            .db
            .read("ci_schedule_progress", move |tx| {
                let schedule = store::schedule::find(tx, project, due.schedule)?;
                Ok::<_, CiError>((store::push::progress(tx, &asked)?, schedule))
            })
            .await?;
        let begun = match progress {
            Progress::Done => return Ok(()),
            Progress::Begun(pipeline) => Some(pipeline),
            Progress::New => None,
        };
        let Some(schedule) = schedule else {
            return self.refuse_schedule(key, None, None).await;
        };
        let played = due.user.map(UserId);
        let Some(access) = self.access_of(&schedule, played).await? else {
            return self.refuse_schedule(key, Some(schedule.id), played).await;
        };
        let given = open(&self.key, &schedule)?;
        let wish = Wish {
            variables: given.variables,
            inputs: given.inputs,
            more: vec![Variable {
                raw: true,
                ..Variable::public("CI_PIPELINE_SCHEDULE_DESCRIPTION", &*schedule.description)
            }],
            schedule: Some(schedule.id),
            ..Wish::new(&*schedule.ref_name, Source::Schedule)
        };
        let problem = match self.draft_of_wish(&access, wish).await {
            Ok(draft) => {
                self.make(draft, Some(key), begun).await?;
                None
            }
            Err(CiError::NoPipeline(reasons)) => {
                let reasons = reasons.join("; ");
                let told = reasons.clone();
                self.db
                    .write("ci_schedule_without", move |tx| {
                        Ok::<_, CiError>(store::push::finish(tx, &key, None, &[told])?)
                    })
                    .await?;
                Some(reasons)
            }
            Err(error) => return Err(error),
        };
        let id = schedule.id;
        self.db
            .write("ci_schedule_problem", move |tx| {
                let problem = problem.as_deref();
                Ok(store::schedule::put_problem(tx, id, problem)?)
            })
            .await
    }

    /// Returns the right to run the schedule's pipeline that its owner, or whoever played it, has at this moment.
    async fn access_of(
        &self,
        schedule: &Schedule,
        played: Option<UserId>,
    ) -> Result<Option<Access<RunPipelines>>, CiError> {
        let user = played.unwrap_or(schedule.owner);
        let principal = self.acting_for(Some(user)).await?;
        let at = ProjectRef::Id(schedule.project);
        let facts = self.directory.find_project(&principal, &at).await?;
        Ok(facts.and_then(|it| decide(&principal, it).ok()))
    }

    /// Ends a run for which nobody has the right. A schedule whose owner has lost it is switched off.
    async fn refuse_schedule(
        &self,
        key: String,
        schedule: Option<i64>,
        played: Option<UserId>,
    ) -> Result<(), CiError> {
        const WHY: &str = "Switched off: its owner may no longer run pipelines here. Somebody who may can take ownership.";
        const PLAYED: &str = "Whoever played it may no longer run pipelines here.";
        self.db
            .write("ci_refuse_schedule", move |tx| {
                store::push::finish(tx, &key, None, &[])?;
                match schedule {
                    Some(id) if played.is_some() => {
                        Ok(store::schedule::put_problem(tx, id, Some(PLAYED))?)
                    }
                    Some(id) => Ok(store::schedule::deactivate(tx, id, WHY)?),
                    None => Ok(()),
                }
            })
            .await
    }
}

const MISSING: CiError = CiError::NotFound("Pipeline Schedule");

/// Whether the caller owns a schedule.
pub(crate) fn owns<A: Action>(access: &Access<A>, schedule: &Schedule) -> bool {
    access.principal().user_id() == Some(schedule.owner)
}

fn append_due(
    tx: &mut Tx<'_>,
    schedule: &Schedule,
    user: Option<UserId>,
) -> Result<(), rave_store::Error> {
    let due = Due {
        schedule: schedule.id,
        user: user.map(|it| it.0),
    };
    let subject = format!("schedule/{}", schedule.id);
    let event = NewEvent::new(EventKind::ScheduleDue, subject)
        .project(schedule.project)
        .payload(json!(due))
        .trace(Some(TraceContext::start()));
    tx.append(event).map(drop)
}

/// Returns when a schedule runs next.
fn next_run(schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>, InvalidCron> {
    let zone = cron::zone(&schedule.timezone).ok_or(InvalidCron)?;
    Ok(Cron::parse(&schedule.cron)?.next(now, &zone))
}

/// Checks a schedule and sets when it runs next.
fn accept(schedule: &mut Schedule, given: &Given, now: Timestamp) -> Result<(), CiError> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (field, text) in [
        ("description", &schedule.description),
        ("ref", &schedule.ref_name),
    ] {
        if text.trim().is_empty() {
            mistakes.push((field, "can't be blank".to_owned()));
        } else if text.chars().count() > TEXT_CHARS {
            let why = format!("is too long (maximum is {TEXT_CHARS} characters)");
            mistakes.push((field, why));
        }
    }
    if Cron::parse(&schedule.cron).is_err() || schedule.cron.len() > TEXT_CHARS {
        mistakes.push(("cron", InvalidCron.to_string()));
    }
    if cron::zone(&schedule.timezone).is_none() {
        mistakes.push(("cron_timezone", InvalidCron.to_string()));
    }
    mistakes.extend(mistakes_of(given));
    if !mistakes.is_empty() {
        return Err(CiError::Rejected(mistakes));
    }
    schedule.next_run_at = next_run(schedule, now).unwrap_or(None);
    Ok(())
}

fn mistakes_of(given: &Given) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut add = |why: String| mistakes.push(("variables", why));
    if given.variables.len() > VARIABLES {
        add(format!("are too many (maximum is {VARIABLES})"));
    }
    let mut keys = std::collections::BTreeSet::new();
    for variable in &given.variables {
        if !is_key(&variable.key) || variable.key.len() > TEXT_CHARS {
            add(format!(
                "key `{}` can contain only letters, digits and '_'.",
                variable.key
            ));
        } else if !keys.insert(&variable.key) {
            add(format!("have duplicate values ({})", variable.key));
        } else if variable.value.chars().count() > VALUE_CHARS {
            add(format!(
                "value of {} is too long (maximum is {VALUE_CHARS} characters)",
                variable.key
            ));
        }
    }
    if given.inputs.len() > INPUTS {
        mistakes.push(("inputs", format!("are too many (maximum is {INPUTS})")));
    }
    mistakes
}

fn purpose(schedule: &Schedule) -> String {
    format!("what a schedule of project {} gives", schedule.project)
}

fn seal(key: &SealingKey, schedule: &Schedule, given: &Given) -> Result<Vec<u8>, CiError> {
    let text = serde_json::to_string(given).map_err(data)?;
    Ok(key.seal(&purpose(schedule), &text)?)
}

fn open(key: &SealingKey, schedule: &Schedule) -> Result<Given, CiError> {
    let text = key.open(&purpose(schedule), &schedule.sealed)?;
    serde_json::from_str(text.expose()).map_err(data)
}

fn data(source: serde_json::Error) -> CiError {
    CiError::Data {
        what: "what a schedule gives",
        source,
    }
}
