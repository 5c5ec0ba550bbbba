//! Writes the shell scripts that jobs run: for bash where there is one, and valid for any `sh`.

use crate::variables::Variables;

/// Quotes text as one word of a shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a script is made of.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    /// The directory to start in.
    pub(crate) directory: &'a str,
    /// Commands, one after the other in one shell; the first that fails ends it.
    pub(crate) commands: String,
}

/// Echoes each command in green before it runs, as users know it from other runners.
pub(crate) fn with_echo(commands: &[String]) -> String {
    let mut text = String::new();
    for command in commands {
        let command = command.trim_end();
        let shown = match command.trim_start().split_once('\n') {
            Some((first, _)) => format!("{first} # collapsed multi-line command"),
            None => command.to_owned(),
        };
        let shown = quote(&format!("\x1b[32;1m$ {shown}\x1b[0;m"));
        text.push_str(&format!("printf '%s\\n' {shown}\n{command}\n"));
    }
    text
}

/// Writes the whole script: variables, what earlier steps left in `GITLAB_ENV`, then the commands.
///
/// The commands see an empty standard input, because the shell reads this script from its own.
pub(crate) fn script(variables: &Variables, body: &Body<'_>) -> String {
    let mut inner = String::new();
    for (key, value) in variables.list() {
        inner.push_str(&format!("export {key}={}\n", quote(value)));
    }
    inner.push_str(LOAD_ENV);
    inner.push_str(&format!("cd {}\n", quote(body.directory)));
    if variables.is_on("CI_DEBUG_TRACE") {
        inner.push_str("set -o xtrace\n");
    }
    inner.push_str(&body.commands);
    format!(
        "{PROLOGUE}(trap 'exit 1' TERM; eval {}) < /dev/null\nexit 0\n",
        quote(&inner)
    )
}

const PROLOGUE: &str = "trap 'exit 1' TERM\n\
    if (set -o pipefail) 2> /dev/null; then set -o pipefail; fi\n\
    set -o errexit\n\
    set +o noclobber\n";

/// Exports the `NAME=value` lines of `GITLAB_ENV`, skipping names that no shell can hold.
const LOAD_ENV: &str = r#"if [ -n "${GITLAB_ENV:-}" ] && [ -f "$GITLAB_ENV" ]; then
  while IFS= read -r rave_line || [ -n "$rave_line" ]; do
    case "$rave_line" in *=*) ;; *) continue ;; esac
    case "${rave_line%%=*}" in ''|[0-9]*|*[!A-Za-z0-9_]*) ;; *) export "$rave_line" ;; esac
  done < "$GITLAB_ENV"
  unset rave_line
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn run(shell: &str, variables: &Variables, commands: &[&str]) -> (Option<i32>, String) {
        let commands: Vec<String> = commands.iter().map(|it| (*it).to_owned()).collect();
        let text = script(
            variables,
            &Body {
                directory: "/",
                commands: with_echo(&commands),
            },
        );
        let mut shell = Command::new(shell);
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(text.as_bytes())
            .expect("the shell reads");
        let output = child.wait_with_output().expect("the shell ends");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8"),
        )
    }

    fn check(commands: &[&str], status: i32, shown: &str) {
        for shell in ["bash", "dash"] {
            let mut variables = Variables::default();
            variables.set("NASTY", "it's $(echo no) \"`x`\" \\ \n end");
            let (code, output) = run(shell, &variables, commands);
            let plain = output.replace("\x1b[32;1m", "").replace("\x1b[0;m", "");
            assert_eq!(
                (code, plain.as_str()),
                (Some(status), shown),
                "{shell}: {commands:?}"
            );
        }
    }

    #[test]
    fn commands_share_a_shell_and_stop_at_the_first_failure() {
        check(
            &["X=1", "echo $X", "pwd"],
            0,
            "$ X=1\n$ echo $X\n1\n$ pwd\n/\n",
        );
        check(&["false", "echo no"], 1, "$ false\n");
        check(&["exit 7"], 7, "$ exit 7\n");
        check(&["(exit 3)", "echo no"], 3, "$ (exit 3)\n");
        check(
            &["if true; then\n  echo yes\nfi"],
            0,
            "$ if true; then # collapsed multi-line command\nyes\n",
        );
        check(&["cat"], 0, "$ cat\n");
        let nasty = "it's $(echo no) \"`x`\" \\ \n end\n";
        check(
            &["printf '%s\\n' \"$NASTY\""],
            0,
            &format!("$ printf '%s\\n' \"$NASTY\"\n{nasty}"),
        );
    }

    #[test]
    fn a_failure_inside_a_pipe_counts_where_the_shell_can_tell() {
        let (code, _) = run("bash", &Variables::default(), &["false | true"]);
        assert_eq!(code, Some(1));
    }

    #[test]
    fn steps_pass_variables_on_through_a_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "A=1 2\nnot-a-name=3\nnonsense\nB=x=y").expect("written");
        let mut variables = Variables::default();
        variables.set("GITLAB_ENV", file.path().display().to_string());
        for shell in ["bash", "dash"] {
            let (code, output) = run(shell, &variables, &["printf '%s|' \"$A\" \"$B\""]);
            assert!(
                code == Some(0) && output.ends_with("1 2|x=y|"),
                "{shell}: {code:?} {output}"
            );
        }
    }
}
