//! How a command that failed ends: what failed, why, and what to do next.

use std::io::IsTerminal as _;
use std::process::ExitCode;

/// The user can mend it.
const USER: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// We have to mend it.
const OURS: u8 = 70;

/// Something that the user can mend, with the next step.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Hinted {
    text: String,
    hint: String,
    #[source]
    source: Option<anyhow::Error>,
}

/// Makes an error that ends with a hint.
pub(crate) fn hinted(
    text: impl Into<String>,
    hint: impl Into<String>,
    source: Option<anyhow::Error>,
) -> anyhow::Error {
    Hinted {
        text: text.into(),
        hint: hint.into(),
        source,
    }
    .into()
}

/// An error that only a mistake of ours explains.
#[derive(Debug, thiserror::Error)]
#[error("internal error")]
pub(crate) struct Internal(#[source] pub(crate) anyhow::Error);

/// An error that another command line mends.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Usage(pub(crate) anyhow::Error);

/// Prints the error with its causes to standard error and returns the exit code.
#[expect(
    clippy::print_stderr,
    reason = "this is where a command says why it failed"
)]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(Usage(error)) = error.downcast_ref() {
        report(error);
        return ExitCode::from(USAGE);
    }
    let (red, bold, plain) = if std::io::stderr().is_terminal() {
        ("\x1b[1;31m", "\x1b[1m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    eprintln!("{red}error:{plain} {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat their cause in their own message.
        if !said.contains(&text) {
            eprintln!("  caused by: {text}");
        }
        said = text;
    }
    if let Some(hint) = error.chain().find_map(|it| it.downcast_ref::<Hinted>()) {
        eprintln!("{bold}hint:{plain} {}", hint.hint);
    }
    ExitCode::from(if error.is::<Internal>() { OURS } else { USER })
}
