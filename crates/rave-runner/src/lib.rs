#![doc = include_str!("../README.md")]
#![allow(dead_code, reason = "services of the sandbox follow")]

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
pub use config::{
    ConfigError, ContainerPolicy, ExecutorKind, ImagePolicy, Network, PullPolicy, RunnerConfig,
    S3Cache, SandboxPolicy,
};
pub use doctor::{Finding, Health, examine};
pub use exec::ExecutorError;
pub use files::unpack::{ExtractError, extract};
pub use inner::sandbox_main;
pub use job::place::remove_tree;
pub use runner::{Runner, RunnerError};
pub use state::StateError;
