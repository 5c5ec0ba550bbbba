#![doc = include_str!("../README.md")]

pub mod access;
pub mod address;
pub mod app;
pub mod assets;
pub mod caller;
pub mod component;
pub mod error;
mod field;
pub mod health;
pub mod metrics;
pub mod multipart;
pub mod page;
pub mod pagination;
pub mod params;
pub mod range;
pub mod request_log;
pub mod routes;
pub mod server;

pub use access::Authorized;
pub use app::Shared;
pub use caller::{Caller, SignedIn};
pub use error::HttpError;
pub use page::Page;
pub use pagination::Pagination;
pub use params::Params;
pub use routes::Routes;
