#![doc = include_str!("../README.md")]

mod api;
mod config;
mod error;
mod forge;
mod git;
mod hook;
mod pages;
mod policy;
mod reading;
mod repository;
mod routes;
mod service;
mod store;
mod sync;
mod transfer;
mod worker;

pub use config::GitConfig;
pub use error::GitError;
pub use hook::hook_main;
pub use service::Git;
pub use store::MIGRATIONS;
