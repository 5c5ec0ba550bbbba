#![doc = include_str!("../README.md")]

mod budget;
mod cache;
mod client;
mod config;
mod doctor;
mod exec;
mod files;
mod host;
mod image;
mod inner;
mod job;
mod metrics;
mod overlay;
mod pool;
mod registrar;
mod report;
mod runner;
mod script;
mod secrets;
mod source;
mod state;
mod trace;
mod variables;
mod wire;

pub use budget::size::{MemoryPolicy, Profile};
pub use client::ClientError;
pub use client::lifecycle::{Account, Registration};
pub use config::{
    Accelerator, ConfigError, ContainerPolicy, ExecutorKind, ImagePolicy, Network, PullPolicy,
    RunnerConfig, S3Cache, SandboxPolicy, Tls, VmPolicy,
};
pub use doctor::{Finding, Health, examine};
pub use exec::ExecutorError;
pub use files::unpack::{ExtractError, extract};
pub use inner::{guest_main, sandbox_main};
pub use job::place::remove_tree;
pub use metrics::Metrics;
pub use overlay::Overlay;
pub use pool::Pool;
pub use registrar::Registrar;
pub use runner::{Runner, RunnerError};
pub use state::StateError;
