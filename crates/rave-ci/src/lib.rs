#![doc = include_str!("../README.md")]

mod api;
mod binary_caches;
mod config;
mod cron;
mod dotenv;
mod error;
mod features;
mod findings;
mod metrics;
mod model;
mod pages;
mod remote;
mod render;
mod reports;
mod service;
mod setting;
mod store;
mod templates;
#[cfg(test)]
mod tests;
mod token;
mod usage;
mod variables;
mod worker;

pub use config::CiConfig;
pub use reports::PipelineReports;
pub use service::local;
pub use service::{Ci, Ports};
pub use templates::find as find_template;
pub use token::JobTokenStore;
pub use variables::{PipelineFacts, of_pipeline};

use rave_store::PartMigrations;

/// The tables of this part.
pub const MIGRATIONS: PartMigrations = PartMigrations {
    part: "ci",
    steps: &[
        ("0001_ci", include_str!("migrations/0001_ci.sql")),
        (
            "0002_settings",
            include_str!("migrations/0002_settings.sql"),
        ),
        (
            "0003_downstream",
            include_str!("migrations/0003_downstream.sql"),
        ),
        ("0004_reports", include_str!("migrations/0004_reports.sql")),
        (
            "0006_plan_origin",
            include_str!("migrations/0006_plan_origin.sql"),
        ),
        (
            "0007_progress",
            include_str!("migrations/0007_progress.sql"),
        ),
        ("0008_runners", include_str!("migrations/0008_runners.sql")),
        ("0009_usage", include_str!("migrations/0009_usage.sql")),
        (
            "0010_admission",
            include_str!("migrations/0010_admission.sql"),
        ),
    ],
};
