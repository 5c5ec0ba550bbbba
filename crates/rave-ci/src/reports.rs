//! What the forge asks of continuous integration: badges for lists, and what to tell whoever pushed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rave_core::id::ProjectId;
use rave_core::name::ObjectId;
use rave_core::permission::{Access, ManageProject};
use rave_core::port::{PipelineBadge, PipelineSettings, Pipelines, PortError};
use rave_store::Db;
use uuid::Uuid;

use crate::store;
use crate::token::port_error;

/// How often a waiting push looks without being woken: a push that makes no pipeline appends no event.
const LOOK: Duration = Duration::from_millis(50);

/// Answers the forge. Needs nothing but the database, because the forge is made before the rest of this part.
#[derive(Debug)]
pub struct PipelineReports {
    db: Db,
}

impl PipelineReports {
    /// Makes the reports. The tables have to exist before they are asked.
    #[must_use]
    pub fn new(db: Db) -> Arc<Self> {
        Arc::new(Self { db })
    }

    async fn reports(&self, events: &[String]) -> Vec<Option<Vec<String>>> {
        let events = events.to_vec();
        let count = events.len();
        let found = self
            .db
            .read("ci_push_reports", move |tx| {
                store::push::reports(tx, &events)
            })
            .await;
        found.unwrap_or_else(|error: rave_store::Error| {
            tracing::warn!(%error, "cannot tell what became of a push");
            vec![None; count]
        })
    }
}

#[async_trait]
impl Pipelines for PipelineReports {
    async fn settings(&self, project: ProjectId) -> Result<PipelineSettings, PortError> {
        let auto_cancel = self
            .db
            .read("ci_settings", move |tx| {
                store::chore::auto_cancels(tx, project)
            })
            .await
            .map_err(|error| port_error("read the settings of pipelines", error))?;
        Ok(PipelineSettings { auto_cancel })
    }

    async fn put_settings(
        &self,
        access: &Access<ManageProject>,
        settings: PipelineSettings,
    ) -> Result<(), PortError> {
        let project = access.project().id;
        self.db
            .write("ci_put_settings", move |tx| {
                store::chore::put_auto_cancel(tx, project, settings.auto_cancel)
            })
            .await
            .map_err(|error| port_error("change the settings of pipelines", error))
    }

    async fn badges(
        &self,
        project: ProjectId,
        commits: &[ObjectId],
    ) -> Result<BTreeMap<String, PipelineBadge>, PortError> {
        let commits: Vec<String> = commits.iter().map(|it| it.as_str().to_owned()).collect();
        let badges = self
            .db
            .read("ci_badges", move |tx| {
                store::pipeline::badges(tx, project, &commits)
            })
            .await
            .map_err(|error| port_error("look pipelines of commits up", error))?;
        Ok(badges.into_iter().collect())
    }

    async fn push_report(&self, events: &[Uuid], deadline: Duration) -> Vec<String> {
        let events: Vec<String> = events.iter().map(ToString::to_string).collect();
        let mut signal = self.db.events();
        let mut reports = vec![None; events.len()];
        let wait = async {
            loop {
                reports = self.reports(&events).await;
                if reports.iter().all(Option::is_some) {
                    return;
                }
                tokio::select! {
                    () = signal.changed() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        };
        // What is known by then is told; the rest shows on the pipelines' pages.
        let _ = tokio::time::timeout(deadline, wait).await;
        reports.into_iter().flatten().flatten().collect()
    }
}
