#![doc = include_str!("../README.md")]

mod consumer;
mod db;
mod error;
mod event_log;
mod lease;
mod migrate;
mod options;
mod postgres;
mod session;
mod signal;
mod sqlite;
mod tx;
mod value;
mod worker;

pub use consumer::{Consumer, HandleError, Handler};
pub use db::Db;
pub use error::{BoxError, Constraint, Error};
pub use migrate::PartMigrations;
pub use options::{DatabaseUrl, Durability, Options};
pub use session::Engine;
pub use signal::EventSignal;
pub use tx::Tx;
pub use value::{Row, Value};
pub use worker::{Progress, StepError, Worker, run_worker};
