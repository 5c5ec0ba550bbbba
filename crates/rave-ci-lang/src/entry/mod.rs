//! The merged tree to typed keywords. All errors of shape are collected here; jobs are not compared with each other.

mod artifacts;
mod cache;
pub(crate) mod check;
mod clauses;
mod common;
mod credentials;
mod environment;
mod image;
mod inherit;
mod job;
mod job_keys;
mod json;
mod needs;
mod only;
mod parallel;
mod publishing;
mod retry;
mod root;
mod ruby;
mod rules;
mod steps;
mod trigger;
mod variables;
mod workflow;

pub(crate) use clauses::Clauses;
pub(crate) use common::DEFAULT_KEYS;
pub(crate) use inherit::Inherit;
pub(crate) use job::Job;
pub(crate) use needs::{NeedEntry, Needs};
pub(crate) use only::Policy;
pub(crate) use parallel::{Axes, copy_names};
pub(crate) use publishing::PagesEntry;
pub(crate) use root::{Config, read};
pub(crate) use rules::{Rule, RuleWhen};
pub(crate) use variables::overlay;
pub(crate) use workflow::AutoCancelEntry;
