//! What a person sees while paths are moved: one bar for all of it where there is a terminal, else a line per path.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{Style, say};

#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    style: Style,
    show: Show,
}

/// What is shown besides the bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// A line for each path.
    Each,
    /// Lines for what failed.
    Failures,
    /// Nothing, because a result is printed for programs.
    Nothing,
}

impl Progress {
    /// Begins with how many bytes there are.
    pub(super) fn new(verb: &'static str, bytes: u64, show: Show) -> Self {
        let target = match show {
            Show::Nothing => ProgressDrawTarget::hidden(),
            Show::Each | Show::Failures => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let template = "{prefix:>11.bold} {wide_msg} {bytes}/{total_bytes} {bar:24.cyan/dim} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━╌"));
        }
        bar.set_prefix(verb);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            bar,
            style: Style::stderr(),
            show,
        }
    }

    /// Bytes went by.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Takes back what a failed attempt counted.
    pub(super) fn take_back(&self, bytes: u64) {
        self.bar
            .set_position(self.bar.position().saturating_sub(bytes));
    }

    pub(super) fn begin(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }

    pub(super) fn done(&self, name: &str, bytes: u64, note: &str) {
        if self.show != Show::Each {
            return;
        }
        let note = if note.is_empty() {
            String::new()
        } else {
            format!(" {}", self.style.dim(note))
        };
        self.line(&format!(
            "{} {name} {}{note}",
            self.style.green("✓"),
            self.style.dim(&size(bytes))
        ));
    }

    pub(super) fn failed(&self, name: &str, error: &anyhow::Error) {
        self.line(&format!("{} {name}: {error:#}", self.style.red("✗")));
    }

    fn line(&self, text: &str) {
        match (self.show, self.bar.is_hidden()) {
            (Show::Nothing, _) => {}
            (_, true) => say(text),
            (_, false) => self.bar.println(text),
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

pub(super) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
