//! What pages show that takes work to make: logs as HTML and pipelines as graphs. Pure: text in, text out.

mod ansi;
pub(crate) mod graph;
mod line;
pub(crate) mod log;
mod log_html;
mod section;
#[cfg(test)]
mod tests;

pub(crate) use log::LogRenderer;
pub(crate) use log_html::{LINES, LogDocument, Patch, patches};
