//! Runners: made by people or by themselves, verified by machines, changed and removed by whoever may.

use std::collections::BTreeMap;

use rave_core::id::{ProjectId, RunnerId};
use rave_core::permission::{Access, ManageProject};
use rave_core::port::{Page, Slice};
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};
use rave_core::time::Timestamp;

use super::Ci;
use crate::config::millis;
use crate::error::CiError;
use crate::model::{Job, Manager, Runner, RunnerType};
use crate::setting::Owner;
use crate::store;
use crate::store::runner::{NewRunner, RunnerFilter, Settings, StoredToken};

/// Longest description, tag and note.
const DESCRIPTION_CHARS: usize = 1024;
const TAG_CHARS: usize = 255;
const NOTE_CHARS: usize = 1024;
const TAGS: usize = 50;
/// Jobs may not be given less time than this.
const LEAST_TIMEOUT_SECS: i64 = 600;

/// A runner with what its page shows beside it.
#[derive(Clone, Debug)]
pub(crate) struct RunnerDetails {
    pub(crate) runner: Runner,
    /// The last heard of first.
    pub(crate) managers: Vec<Manager>,
    /// How many jobs it works on now.
    pub(crate) active: u64,
    /// The projects that it works for, its owner first; none for a runner of a group or the instance.
    pub(crate) projects: Vec<ProjectId>,
}

/// A token that is shown once.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) token: Secret,
    pub(crate) expires_at: Option<Timestamp>,
}

impl NewToken {
    fn stored(&self) -> StoredToken {
        StoredToken {
            digest: TokenDigest::of(self.token.expose()).as_str().to_owned(),
            expires_at: self.expires_at,
        }
    }
}

/// Which of a runner's jobs a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerJobs {
    /// Those of one machine.
    pub(crate) system_id: Option<String>,
    /// Stored names of states; empty: all.
    pub(crate) status: Vec<&'static str>,
    pub(crate) ascending: bool,
}

/// Refuses settings that mean nothing, all mistakes at once.
fn check(settings: &Settings) -> Result<(), CiError> {
    let mut mistakes = Vec::new();
    let mut need = |good: bool, field, text: &str| {
        if !good {
            mistakes.push((field, text.to_owned()));
        }
    };
    let long = |text: &str, limit| text.chars().count() > limit;
    need(
        !settings.tags.is_empty() || settings.run_untagged,
        "tags_list",
        "can not be empty when runner is not allowed to pick untagged jobs",
    );
    need(
        settings.tags.len() <= TAGS,
        "tags_list",
        "has too many tags (maximum is 50)",
    );
    need(
        !settings.tags.iter().any(|it| long(it, TAG_CHARS)),
        "tags_list",
        "has a tag that is too long (maximum is 255 characters)",
    );
    need(
        !long(&settings.description, DESCRIPTION_CHARS),
        "description",
        "is too long (maximum is 1024 characters)",
    );
    need(
        !settings
            .maintenance_note
            .as_deref()
            .is_some_and(|it| long(it, NOTE_CHARS)),
        "maintenance_note",
        "is too long (maximum is 1024 characters)",
    );
    need(
        settings
            .maximum_timeout_secs
            .is_none_or(|it| it >= LEAST_TIMEOUT_SECS),
        "maximum_timeout",
        "needs to be at least 10 minutes",
    );
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(CiError::Rejected(mistakes))
    }
}

impl Ci {
    /// Makes sure that the runner inside this server exists, by the token that it will present. To be called before it
    /// asks for jobs: those that it had when the server last ended died with it, and need not wait to be found lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_embedded_runner(
        &self,
        token: &Secret,
    ) -> Result<RunnerId, rave_store::Error> {
        let stored = StoredToken {
            digest: TokenDigest::of(token.expose()).as_str().to_owned(),
            expires_at: None,
        };
        let new = NewRunner {
            kind: RunnerType::Instance,
            project: None,
            group: None,
            settings: Settings {
                description: "embedded".to_owned(),
                ..Settings::default()
            },
            creator: None,
            legacy: false,
        };
        let id: Result<RunnerId, rave_store::Error> = self
            .db
            .write("ci_embedded_runner", move |tx| {
                let id = store::runner::insert(tx, &stored, &new)?;
                store::job::orphan(tx, id)?;
                Ok(id)
            })
            .await;
        self.wakes.due.notify_one();
        id
    }

    /// Makes a token for a runner. One that registered itself gets none of the prefix by which the stock runner knows that
    /// it must not delete the runner when a machine unregisters.
    fn new_runner_token(&self, legacy: bool) -> Result<NewToken, CiError> {
        let token = generate_token(TokenKind::Runner)?;
        let bare = token
            .expose()
            .trim_start_matches(TokenKind::Runner.prefix());
        let lifetime = self.config.runner_token_lifetime;
        Ok(NewToken {
            token: if legacy {
                Secret::new(bare)
            } else {
                token.clone()
            },
            expires_at: lifetime.map(|it| self.now().plus_millis(millis(it))),
        })
    }

    /// Makes a runner. Returns its token, which is shown once. The caller has checked who may.
    pub(crate) async fn create_runner(
        &self,
        new: NewRunner,
    ) -> Result<(RunnerId, NewToken), CiError> {
        check(&new.settings)?;
        let token = self.new_runner_token(new.legacy)?;
        let stored = token.stored();
        let id = self
            .db
            .write("ci_create_runner", move |tx| {
                Ok::<_, CiError>(store::runner::insert(tx, &stored, &new)?)
            })
            .await?;
        tracing::info!(runner.id = id.0, "made a runner");
        Ok((id, token))
    }

    /// Returns the runner that has a token.
    pub(crate) async fn find_runner_by_token(
        &self,
        token: &str,
    ) -> Result<Option<Runner>, CiError> {
        let digest = TokenDigest::of(token);
        self.db
            .read("ci_runner_by_token", move |tx| {
                Ok(store::runner::find_by_token(tx, digest.as_str())?)
            })
            .await
    }

    /// Returns a runner. The caller decides whether it may be seen.
    pub(crate) async fn find_runner(&self, id: RunnerId) -> Result<Option<RunnerDetails>, CiError> {
        self.db
            .read("ci_runner", move |tx| {
                let found: Vec<Runner> = store::runner::find(tx, id)?.into_iter().collect();
                Ok(details(tx, found)?.pop())
            })
            .await
    }

    /// Lists runners. The caller decides which may be seen.
    pub(crate) async fn list_runners(
        &self,
        filter: RunnerFilter,
        slice: Slice,
    ) -> Result<Page<RunnerDetails>, CiError> {
        self.db
            .read("ci_runners", move |tx| {
                let page = store::runner::list(tx, &filter, slice)?;
                Ok(Page {
                    items: details(tx, page.items)?,
                    total: page.total,
                })
            })
            .await
    }

    /// Lists the runners that take jobs of a project.
    pub(crate) async fn list_project_runners(
        &self,
        access: &Access<ManageProject>,
        mut filter: RunnerFilter,
        slice: Slice,
    ) -> Result<Page<RunnerDetails>, CiError> {
        let groups = self.namespaces_above(access.project()).await?;
        filter.usable_by = Some((access.project().id, groups));
        self.list_runners(filter, slice).await
    }

    /// Lists the jobs that a runner has and had. The caller decides which of them may be seen.
    pub(crate) async fn list_runner_jobs(
        &self,
        id: RunnerId,
        which: RunnerJobs,
        slice: Slice,
    ) -> Result<Page<Job>, CiError> {
        self.db
            .read("ci_runner_jobs", move |tx| {
                let system_id = which.system_id.as_deref();
                let (status, ascending) = (&which.status, which.ascending);
                Ok(store::job::of_runner(
                    tx, id, system_id, status, ascending, slice,
                )?)
            })
            .await
    }

    /// Changes what people decide about a runner.
    pub(crate) async fn update_runner(
        &self,
        id: RunnerId,
        settings: Settings,
    ) -> Result<(), CiError> {
        check(&settings)?;
        let found: bool = self
            .db
            .write("ci_update_runner", move |tx| {
                Ok::<_, CiError>(store::runner::put_settings(tx, id, &settings)?)
            })
            .await?;
        // It may take jobs now that it could not before.
        self.queue.ring();
        if found {
            Ok(())
        } else {
            Err(CiError::NotFound("Runner"))
        }
    }

    /// Lets another project use a project's runner. The caller has checked that its owner may.
    pub(crate) async fn assign_runner(
        &self,
        runner: &Runner,
        project: ProjectId,
    ) -> Result<(), CiError> {
        if runner.kind != RunnerType::Project {
            return Err(CiError::Forbidden(
                "only a project's runner is given to others",
            ));
        }
        if runner.locked {
            return Err(CiError::Forbidden("Runner is locked"));
        }
        let (id, own) = (runner.id, runner.project == Some(project));
        let added: bool = self
            .db
            .write("ci_assign_runner", move |tx| {
                Ok::<_, CiError>(!own && store::runner_project::insert(tx, id, project)?)
            })
            .await?;
        self.queue.ring();
        if added {
            return Ok(());
        }
        let taken = ("runner", "has already been taken".to_owned());
        Err(CiError::Rejected(vec![taken]))
    }

    /// Takes a runner from a project that another project owns.
    pub(crate) async fn unassign_runner(
        &self,
        access: &Access<ManageProject>,
        id: RunnerId,
    ) -> Result<(), CiError> {
        let project = access.project().id;
        self.db
            .write("ci_unassign_runner", move |tx| {
                let runner = store::runner::find(tx, id)?;
                let owned = runner.is_some_and(|it| it.project == Some(project));
                if owned {
                    return Err(CiError::Forbidden(
                        "the project owns the runner: delete the runner instead",
                    ));
                }
                match store::runner_project::delete(tx, id, project)? {
                    true => Ok(()),
                    false => Err(CiError::NotFound("Runner")),
                }
            })
            .await
    }

    /// Deletes a runner. Its jobs go on; when they fall silent they end as lost.
    pub(crate) async fn delete_runner(&self, id: RunnerId) -> Result<(), CiError> {
        let found: bool = self
            .db
            .write("ci_delete_runner", move |tx| {
                Ok::<_, CiError>(store::runner::delete(tx, id)?)
            })
            .await?;
        self.contacts.forget(id);
        self.queue.ring();
        if found {
            Ok(())
        } else {
            Err(CiError::NotFound("Runner"))
        }
    }

    /// Forgets one machine of a runner.
    pub(crate) async fn delete_manager(
        &self,
        id: RunnerId,
        system_id: &str,
    ) -> Result<(), CiError> {
        let system_id = system_id.to_owned();
        let found: bool = self
            .db
            .write("ci_delete_manager", move |tx| {
                Ok::<_, CiError>(store::runner_manager::delete(tx, id, &system_id)?)
            })
            .await?;
        self.contacts.forget(id);
        if found {
            Ok(())
        } else {
            Err(CiError::NotFound("Runner manager"))
        }
    }

    /// Gives a runner another token; the old one is worth nothing from then on.
    pub(crate) async fn reset_runner_token(&self, runner: &Runner) -> Result<NewToken, CiError> {
        let token = self.new_runner_token(runner.legacy)?;
        let (id, stored) = (runner.id, token.stored());
        let found: bool = self
            .db
            .write("ci_reset_runner_token", move |tx| {
                Ok::<_, CiError>(store::runner::put_token(tx, id, &stored)?)
            })
            .await?;
        if found {
            Ok(token)
        } else {
            Err(CiError::NotFound("Runner"))
        }
    }

    /// Gives an owner another registration token. The caller has checked who may.
    pub(crate) async fn reset_registration_token(&self, owner: Owner) -> Result<Secret, CiError> {
        let token = generate_token(TokenKind::Registration)?;
        let digest = TokenDigest::of(token.expose());
        self.db
            .write("ci_registration_token", move |tx| {
                Ok::<_, CiError>(store::registration::put(tx, owner, digest.as_str())?)
            })
            .await?;
        Ok(token)
    }

    /// Makes a runner for whoever has a registration token. `None` when nobody's it is.
    pub(crate) async fn register_runner(
        &self,
        token: &str,
        settings: Settings,
    ) -> Result<Option<(RunnerId, NewToken)>, CiError> {
        let digest = TokenDigest::of(token);
        let owner = self
            .db
            .read("ci_registration_owner", move |tx| {
                Ok::<_, CiError>(store::registration::find_owner(tx, digest.as_str())?)
            })
            .await?;
        let (kind, project, group) = match owner {
            None => return Ok(None),
            Some(Owner::Instance) => (RunnerType::Instance, None, None),
            Some(Owner::Group(group)) => (RunnerType::Group, None, Some(group.0)),
            Some(Owner::Project(project)) => (RunnerType::Project, Some(project), None),
        };
        let new = NewRunner {
            kind,
            project,
            group,
            settings,
            creator: None,
            legacy: true,
        };
        self.create_runner(new).await.map(Some)
    }
}

/// Fetches what belongs to these runners.
fn details(
    tx: &mut rave_store::Tx<'_>,
    runners: Vec<Runner>,
) -> Result<Vec<RunnerDetails>, rave_store::Error> {
    let ids: Vec<RunnerId> = runners.iter().map(|it| it.id).collect();
    let mut managers = store::runner_manager::of_runners(tx, &ids)?;
    let active: BTreeMap<RunnerId, u64> = store::runner::active(tx, &ids)?;
    let mut all = Vec::with_capacity(runners.len());
    for runner in runners {
        all.push(RunnerDetails {
            managers: managers.remove(&runner.id).unwrap_or_default(),
            active: active.get(&runner.id).copied().unwrap_or_default(),
            projects: store::runner_project::of_runner(tx, &runner)?,
            runner,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_mean_nothing_are_refused_together() {
        let settings = Settings {
            run_untagged: false,
            maximum_timeout_secs: Some(60),
            ..Settings::default()
        };
        let Err(CiError::Rejected(mistakes)) = check(&settings) else {
            panic!("they are wrong");
        };
        let fields: Vec<&str> = mistakes.iter().map(|it| it.0).collect();
        assert_eq!(fields, ["tags_list", "maximum_timeout"]);
        assert!(check(&Settings::default()).is_ok());
    }
}
