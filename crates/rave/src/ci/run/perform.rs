//! One run on a server that is there: the commit is put into its repository, the pipeline made and followed.

use std::io::IsTerminal as _;
use std::time::Instant;

use rave_ci_lang::Plan;
use tokio::sync::mpsc;

use super::follow::{End, Follow, World};
use super::instance::{Instance, Running};
use super::place::Place;
use super::prepare::Prepared;
use super::report::Over;
use super::show::{Json, Lines, Show, Shown, Table};
use super::snapshot::Snapshot;
use super::stop::Stop;
use super::{HowArgs, leave};

/// A server on which runs are performed, one after the other.
pub(super) struct Stage<'a> {
    pub(super) how: &'a HowArgs,
    pub(super) place: &'a Place,
    pub(super) instance: Instance,
    pub(super) runner: Running,
    /// What the instance has to say to the user.
    pub(super) notices: mpsc::Receiver<String>,
}

impl Stage<'_> {
    /// Performs a run until it is over, somebody stops it, or `outdated` ends. Returns whether it passed.
    pub(super) async fn perform(
        &mut self,
        snapshot: &Snapshot,
        prepared: Prepared,
        stop: &mut Stop,
        started: Instant,
        outdated: impl Future<Output = ()>,
    ) -> anyhow::Result<(End, bool)> {
        self.instance.fill(snapshot, &prepared.reference).await?;
        let (shown, mut show) = chosen(self.how, &prepared.run.plan);
        let root = self
            .instance
            .ci()
            .create_local(&self.instance.access, prepared.run)
            .await?;
        let mut follow = Follow::new(&self.instance, root, &prepared.play)?;
        let world = World {
            runner: &mut self.runner,
            notices: &mut self.notices,
            stop,
        };
        let (end, pipelines) = follow.until_end(world, show.as_mut(), outdated).await?;
        show.finish();
        if matches!(end, End::Dropped | End::Outdated) {
            return Ok((end, false));
        }
        let left = leave::leave(
            &follow,
            &pipelines,
            &self.place.last(),
            self.how.artifacts.as_deref(),
        )
        .await?;
        let over = Over {
            pipelines: &pipelines,
            left: &left,
            took: started.elapsed(),
            shown,
        };
        over.report(self.how, &follow).await?;
        Ok((end, over.passed()))
    }

    /// Ends the server.
    pub(super) async fn close(self) {
        self.instance.stop(self.runner).await;
    }
}

/// Chooses how a run is shown.
fn chosen(how: &HowArgs, plan: &Plan) -> (Shown, Box<dyn Show>) {
    let names: Vec<&str> = plan.jobs.iter().map(|it| it.name.as_str()).collect();
    let alone = names.len() == 1;
    if how.json {
        (Shown::Json, Box::new(Json::new(how.full_log)))
    } else if alone || how.log || !std::io::stderr().is_terminal() {
        (
            Shown::Lines,
            Box::new(Lines::new(&names, how.full_log, !alone)),
        )
    } else {
        (Shown::Table, Box::new(Table::new()))
    }
}
