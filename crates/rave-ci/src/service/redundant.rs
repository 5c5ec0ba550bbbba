//! Pipelines that nobody needs any more because a newer commit has its own, and what else has to be done to pipelines
//! because of something that is done already.

use rave_core::id::PipelineId;
use rave_core::pipeline::Which;

use super::Ci;
use super::advance::Action;
use crate::error::CiError;
use crate::model::{ChoreKind, OnNewCommit, Pipeline};
use crate::store;
use crate::store::chore::Chore;

/// How many chores are read at once.
const BATCH: u32 = 50;

impl Ci {
    /// Does what was noted to be done. Returns how many things that were.
    pub(crate) async fn do_chores(&self) -> Result<usize, CiError> {
        let chores: Vec<Chore> = self
            .db
            .read("ci_chores", |tx| {
                Ok::<_, CiError>(store::chore::list(tx, BATCH)?)
            })
            .await?;
        for chore in &chores {
            let done = match chore.kind {
                ChoreKind::Cancel => self.stop(chore.pipeline, Which::All).await,
                ChoreKind::Interrupt => self.stop(chore.pipeline, Which::Interruptible).await,
                ChoreKind::Redundant => self.cancel_redundant(chore.pipeline).await,
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_transient() => return Err(error),
                // The others need not wait for what will never be.
                Err(error) => {
                    tracing::error!(pipeline.id = chore.pipeline.0, chore = chore.kind.label(), %error, "cannot do a chore");
                }
            }
            let id = chore.id;
            self.db
                .write("ci_chore_done", move |tx| {
                    Ok::<_, CiError>(store::chore::delete(tx, id)?)
                })
                .await?;
        }
        Ok(chores.len())
    }

    async fn stop(&self, pipeline: PipelineId, which: Which) -> Result<(), CiError> {
        match self.apply(pipeline, Action::Cancel(which)).await {
            Ok(_) => self.logs.ring(),
            // It was deleted meanwhile.
            Err(CiError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn cancel_redundant(&self, newer: PipelineId) -> Result<(), CiError> {
        let found = self
            .db
            .read("ci_newer", move |tx| {
                let Some(pipeline) = store::pipeline::find_anywhere(tx, newer)? else {
                    return Ok(None);
                };
                let wanted = store::chore::auto_cancels(tx, pipeline.project)?
                    && !store::chore::redundant(tx, newer, None)?.is_empty();
                Ok::<_, CiError>(wanted.then_some(pipeline))
            })
            .await?;
        let Some(pipeline) = found else {
            return Ok(());
        };
        let head = self.head_of(&pipeline).await?;
        let redundant = self
            .db
            .read("ci_redundant", move |tx| {
                Ok::<_, CiError>(store::chore::redundant(tx, newer, head.as_deref())?)
            })
            .await?;
        for old in redundant {
            let pipeline = old.pipeline;
            let which = match old.on_new_commit {
                OnNewCommit::Never => continue,
                OnNewCommit::Interruptible => Which::Interruptible,
                OnNewCommit::Conservative => {
                    let started = self
                        .db
                        .read("ci_started", move |tx| {
                            Ok::<_, CiError>(store::chore::has_uninterruptible(tx, pipeline)?)
                        })
                        .await?;
                    if started {
                        continue;
                    }
                    Which::All
                }
            };
            self.db
                .write("ci_auto_cancel", move |tx| {
                    Ok::<_, CiError>(store::chore::put_auto_canceled(tx, pipeline, newer)?)
                })
                .await?;
            self.stop(pipeline, which).await?;
            tracing::info!(
                pipeline.id = pipeline.0,
                newer.id = newer.0,
                "stopped a redundant pipeline"
            );
        }
        Ok(())
    }

    /// Returns the commit that a pipeline's ref points to now.
    async fn head_of(&self, pipeline: &Pipeline) -> Result<Option<String>, CiError> {
        let kind = if pipeline.tag { "tags" } else { "heads" };
        let name = format!("refs/{kind}/{}", pipeline.ref_name);
        let resolved = self.forge.resolve(pipeline.project, &name).await?;
        Ok(resolved.map(|(id, _)| id.as_str().to_owned()))
    }
}
