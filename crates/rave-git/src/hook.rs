//! The pre-receive hook: this program again, started by `git receive-pack` inside the quarantine of a push.
//!
//! It compares each command with the [`PushPolicy`] that the server put into its environment. Refusing one refuses the
//! push as a whole, and git removes what it received.

use std::io::{BufRead as _, Write as _};
use std::process::{Command as Process, ExitCode, Stdio};

use crate::policy::{Command, PushPolicy};

/// Carries the [`PushPolicy`] as JSON.
pub(crate) const POLICY: &str = "RAVE_PUSH_POLICY";
/// Carries the path of this program.
pub(crate) const BINARY: &str = "RAVE_HOOK_BINARY";
/// The file that git starts. It says where the program is only by its environment, so it is the same everywhere.
pub(crate) const SCRIPT: &str = "#!/bin/sh\nexec \"$RAVE_HOOK_BINARY\" __hook pre-receive\n";

/// Runs a git hook of this name: what `rave __hook <name>` does. Prints to the person who pushes.
#[must_use]
pub fn hook_main(name: &str) -> ExitCode {
    if name != "pre-receive" {
        say(&format!("there is no hook {name}"));
        return ExitCode::from(70);
    }
    match pre_receive() {
        Ok(refusals) if refusals.is_empty() => ExitCode::SUCCESS,
        Ok(refusals) => {
            refusals.iter().for_each(|it| say(it));
            ExitCode::FAILURE
        }
        Err(reason) => {
            say(&format!("The push cannot be checked: {reason}."));
            ExitCode::from(70)
        }
    }
}

/// Returns the reasons to refuse the push.
fn pre_receive() -> Result<Vec<String>, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "git hands a hook its input by the environment"
    )]
    let policy = std::env::var(POLICY).map_err(|_| "it was not started by RAVE".to_owned())?;
    let policy: PushPolicy = serde_json::from_str(&policy).map_err(|it| it.to_string())?;
    let mut refusals = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|it| it.to_string())?;
        let command = parse(&line).ok_or("git gave an unknown command")?;
        refusals.extend(policy.refusal(&command, || is_fast_forward(&command)));
    }
    Ok(refusals)
}

fn parse(line: &str) -> Option<Command> {
    let mut words = line.splitn(3, ' ');
    Some(Command {
        before: words.next()?.to_owned(),
        after: words.next()?.to_owned(),
        reference: words.next()?.to_owned(),
    })
}

/// The environment that git gave this process leads to the new objects.
fn is_fast_forward(command: &Command) -> bool {
    let status = Process::new("git")
        .args([
            "merge-base",
            "--is-ancestor",
            &command.before,
            &command.after,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|it| it.success())
}

/// Git shows it as `remote: RAVE: …`.
fn say(text: &str) {
    // A client that is gone need not be told.
    let _ = writeln!(std::io::stderr(), "RAVE: {text}");
}
