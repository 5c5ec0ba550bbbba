//! Pipelines from pushes and schedules: a consumer of the event log. It also clears up after projects and groups.

use std::sync::Arc;

use rave_core::event::{Event, EventKind};
use rave_core::id::{NamespaceId, ProjectId};
use rave_store::{Consumer, HandleError};
use tokio_util::sync::CancellationToken;

use crate::error::CiError;
use crate::service::Ci;
use crate::setting::Owner;
use crate::store;

const KINDS: &[EventKind] = &[
    EventKind::PushReceived,
    EventKind::ScheduleDue,
    EventKind::ProjectDeleted,
    EventKind::GroupDeleted,
];

/// Consumes pushes until `shutdown`.
pub(crate) async fn run(ci: Arc<Ci>, shutdown: CancellationToken) {
    let consumer = Consumer::new(ci.db.clone(), "ci.pushes").kinds(KINDS);
    let handler = move |event: Event| {
        let ci = ci.clone();
        async move { handle(&ci, &event).await }
    };
    consumer.run(handler, shutdown).await;
}

pub(crate) async fn handle(ci: &Ci, event: &Event) -> Result<(), HandleError> {
    let handled = match (event.what.kind, event.what.project) {
        (EventKind::PushReceived, _) => ci.handle_push(event).await,
        (EventKind::ScheduleDue, _) => ci.handle_schedule(event).await,
        (EventKind::ProjectDeleted, Some(project)) => forget_project(ci, project).await,
        (EventKind::GroupDeleted, _) => forget_group(ci, event).await,
        _ => Ok(()),
    };
    match handled {
        Ok(()) => Ok(()),
        Err(error) if error.is_transient() => Err(HandleError::Transient(error.into())),
        Err(error) => {
            let id = event.id.to_string();
            ci.db
                .write("ci_push_failed", move |tx| {
                    let lines =
                        ["No pipeline: the server failed to make one, see its log".to_owned()];
                    store::push::finish(tx, &id, None, &lines)
                })
                .await?;
            Err(HandleError::Permanent(error.into()))
        }
    }
}

/// Deletes what belonged to a project, a few pipelines at a time.
async fn forget_project(ci: &Ci, project: ProjectId) -> Result<(), CiError> {
    loop {
        let deleted: usize = ci
            .db
            .write("ci_forget_project", move |tx| {
                let ids = store::pipeline::ids_of_project(tx, project, 20)?;
                for id in &ids {
                    store::pipeline::delete(tx, *id)?;
                }
                Ok::<_, CiError>(ids.len())
            })
            .await?;
        if deleted == 0 {
            break;
        }
    }
    ci.db
        .write("ci_forget_settings", move |tx| {
            store::schedule::delete_all(tx, project)?;
            store::trigger::delete_all(tx, project)?;
            store::runner_project::forget(tx, project)?;
            store::registration::delete(tx, Owner::Project(project))?;
            Ok(store::setting::delete_all(tx, Owner::Project(project))?)
        })
        .await
}

/// Deletes what belonged to a group.
async fn forget_group(ci: &Ci, event: &Event) -> Result<(), CiError> {
    let Some(id) = event.what.payload["id"].as_i64() else {
        return Ok(());
    };
    ci.db
        .write("ci_forget_group", move |tx| {
            let owner = Owner::Group(NamespaceId(id));
            Ok(store::setting::delete_all(tx, owner)?)
        })
        .await
}
