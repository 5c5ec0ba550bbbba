#![doc = include_str!("../README.md")]

mod api;
mod bytes;
mod config;
mod error;
mod keys;
mod memory;
mod metrics;
mod model;
mod pages;
mod rights;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod worker;

pub use config::{AtticKey, CacheConfig};
pub use service::tokens::{TokenFailed, make_token};
pub use service::{Caches, Ports};
pub use store::MIGRATIONS;
pub use token::{InvalidTokenKey, TokenBounds, TokenRequest, claims_of};
