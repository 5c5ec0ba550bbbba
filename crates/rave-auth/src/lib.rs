#![doc = include_str!("../README.md")]

mod api;
mod authenticate;
mod config;
mod directory;
mod error;
mod pages;
mod password;
mod routes;
mod service;
mod signing;
mod store;
mod throttle;
mod worker;

pub use config::AuthConfig;
pub use error::AuthError;
pub use service::Auth;
pub use service::bootstrap::Bootstrap;
pub use service::users::NewUser;
pub use store::MIGRATIONS;
pub use store::users::User;

#[cfg(test)]
mod tests;
