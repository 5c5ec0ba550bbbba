//! RAVE: a software-delivery platform in one binary.
//!
//! Here are arguments, configuration, the wiring of the parts, and signals; what the parts do is theirs.

mod blob;
mod cache;
mod cache_token;
mod ci;
mod cli;
mod config;
mod data_dir;
mod demo;
mod failure;
mod job_log;
mod logging;
mod memory;
mod runner;
mod terminal;
mod token;
mod up;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
