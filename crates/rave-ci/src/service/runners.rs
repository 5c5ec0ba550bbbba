//! Runners: made by people, verified by machines, changed and removed by whoever may.

use rave_core::id::RunnerId;
use rave_core::permission::{Access, ManageProject};
use rave_core::port::{Page, Slice};
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};

use super::Ci;
use crate::error::CiError;
use crate::model::{Manager, Runner, RunnerType};
use crate::store;
use crate::store::runner::{NewRunner, RunnerFilter, Settings};

/// A runner with what its page shows beside it.
#[derive(Clone, Debug)]
pub(crate) struct RunnerDetails {
    pub(crate) runner: Runner,
    pub(crate) managers: Vec<Manager>,
    /// Whether it works on a job now.
    pub(crate) active: bool,
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
        let digest = TokenDigest::of(token.expose());
        let new = NewRunner {
            kind: RunnerType::Instance,
            project: None,
            group: None,
            settings: Settings {
                description: "embedded".to_owned(),
                ..Settings::default()
            },
            creator: None,
        };
        let id: Result<RunnerId, rave_store::Error> = self
            .db
            .write("ci_embedded_runner", move |tx| {
                let id = store::runner::insert(tx, digest.as_str(), &new)?;
                store::job::orphan(tx, id)?;
                Ok(id)
            })
            .await;
        self.wakes.due.notify_one();
        id
    }

    /// Makes a runner. Returns its token, which is shown once. The caller has checked who may.
    pub(crate) async fn create_runner(
        &self,
        new: NewRunner,
    ) -> Result<(RunnerId, Secret), CiError> {
        let token = generate_token(TokenKind::Runner)?;
        let digest = TokenDigest::of(token.expose());
        let id = self
            .db
            .write("ci_create_runner", move |tx| {
                Ok::<_, CiError>(store::runner::insert(tx, digest.as_str(), &new)?)
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
                let Some(runner) = store::runner::find(tx, id)? else {
                    return Ok(None);
                };
                Ok(Some(RunnerDetails {
                    managers: store::runner::managers(tx, id)?,
                    active: store::runner::is_active(tx, id)?,
                    runner,
                }))
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
                let mut items = Vec::with_capacity(page.items.len());
                for runner in page.items {
                    items.push(RunnerDetails {
                        managers: Vec::new(),
                        active: store::runner::is_active(tx, runner.id)?,
                        runner,
                    });
                }
                Ok(Page {
                    items,
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

    /// Changes what people decide about a runner.
    pub(crate) async fn update_runner(
        &self,
        id: RunnerId,
        settings: Settings,
    ) -> Result<(), CiError> {
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

    /// Deletes a runner. Its jobs go on; when they fall silent they end as lost.
    pub(crate) async fn delete_runner(&self, id: RunnerId) -> Result<(), CiError> {
        let found: bool = self
            .db
            .write("ci_delete_runner", move |tx| {
                Ok::<_, CiError>(store::runner::delete(tx, id)?)
            })
            .await?;
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
                Ok::<_, CiError>(store::runner::delete_manager(tx, id, &system_id)?)
            })
            .await?;
        if found {
            Ok(())
        } else {
            Err(CiError::NotFound("Runner manager"))
        }
    }

    /// Gives a runner another token; the old one is worth nothing from then on.
    pub(crate) async fn reset_runner_token(&self, id: RunnerId) -> Result<Secret, CiError> {
        let token = generate_token(TokenKind::Runner)?;
        let digest = TokenDigest::of(token.expose());
        let found: bool = self
            .db
            .write("ci_reset_runner_token", move |tx| {
                Ok::<_, CiError>(store::runner::put_token(tx, id, digest.as_str())?)
            })
            .await?;
        if found {
            Ok(token)
        } else {
            Err(CiError::NotFound("Runner"))
        }
    }
}
