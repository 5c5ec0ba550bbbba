//! The part as a whole on both engines: pushes in, the runner protocol and the API through the router, workers by step.

mod admission;
mod artifacts;
mod creation;
mod dotenv;
mod downstream;
mod explain;
mod flow;
mod foreign;
mod liveness;
mod matching;
mod progress;
mod redundant;
mod reports;
mod resources;
mod schedules;
mod settings;
mod triggers;
mod usage;
pub(crate) mod world;

pub(crate) use world::{Answer, Place, World};

/// Declares that each test runs on both engines.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::tests::Place::Sqlite).await; })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::tests::Place::Postgres).await; })+
        }
    };
}
pub(crate) use on_both_engines;
