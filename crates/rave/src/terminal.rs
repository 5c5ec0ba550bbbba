//! What commands say to a person: colours where there is a terminal.

use std::io::IsTerminal as _;

/// Colours for one stream, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// The style of standard error, where commands talk.
    pub(crate) fn stderr() -> Self {
        Self {
            colour: std::io::stderr().is_terminal(),
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Says a line to the person who runs the command.
#[expect(
    clippy::print_stderr,
    reason = "talk goes to standard error, results to standard output"
)]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
