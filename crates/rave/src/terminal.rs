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

    /// The style of standard output, for results. `NO_COLOR` takes the colours away.
    #[expect(
        clippy::disallowed_methods,
        reason = "how this process prints is asked of its own environment"
    )]
    pub(crate) fn stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Self {
            colour: std::io::stdout().is_terminal() && !refused,
        }
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { colour: false }
    }

    /// Whether colours are shown.
    pub(crate) fn is_coloured(self) -> bool {
        self.colour
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

/// Writes a result to standard output. A reader that has seen enough, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
