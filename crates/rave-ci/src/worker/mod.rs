//! What happens by itself, each in a worker of its own.

pub(crate) mod archive;
pub(crate) mod chores;
pub(crate) mod due;
pub(crate) mod expiry;
pub(crate) mod figures;
pub(crate) mod neighbours;
pub(crate) mod push;
pub(crate) mod reports;
pub(crate) mod resources;
pub(crate) mod schedules;

use std::sync::Arc;

use rave_store::run_worker;
use tokio_util::sync::CancellationToken;

use crate::service::Ci;

/// Runs all workers until `shutdown`.
pub(crate) async fn run(ci: Arc<Ci>, shutdown: CancellationToken) {
    let stop = || shutdown.clone();
    tokio::join!(
        Box::pin(push::run(ci.clone(), stop())),
        Box::pin(run_worker(due::DueJobs::new(ci.clone()), stop())),
        Box::pin(run_worker(archive::Archive::new(ci.clone()), stop())),
        Box::pin(run_worker(reports::Reports::new(ci.clone()), stop())),
        Box::pin(run_worker(expiry::Expiry::new(ci.clone()), stop())),
        Box::pin(run_worker(figures::Figures::new(ci.clone()), stop())),
        Box::pin(run_worker(chores::Chores::new(ci.clone()), stop())),
        Box::pin(run_worker(resources::Resources::new(ci.clone()), stop())),
        Box::pin(run_worker(schedules::Schedules::new(ci.clone()), stop())),
        Box::pin(run_worker(neighbours::Neighbours::new(ci), stop())),
    );
}
