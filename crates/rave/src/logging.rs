//! Where log lines go, and in which form.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Where the lines go.
pub(crate) enum Target<'a> {
    Stderr,
    /// A file, for commands that draw on the terminal.
    File(&'a Path),
}

/// Starts logging. Once per process.
pub(crate) fn start(log: &Log, target: &Target<'_>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("log.level {:?} is not a filter", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let result = match (target, log.json) {
        (Target::File(path), _) => {
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            builder
                .json()
                .flatten_event(true)
                .with_writer(Mutex::new(file))
                .try_init()
        }
        (Target::Stderr, true) => builder
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .try_init(),
        (Target::Stderr, false) => {
            let colour = std::io::stderr().is_terminal();
            builder
                .with_ansi(colour)
                .with_target(false)
                .compact()
                .with_writer(std::io::stderr)
                .try_init()
        }
    };
    result.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
