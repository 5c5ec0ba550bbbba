//! `rave runner doctor`: what of this machine serves to run jobs, and the remedy for what does not.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};
use rave_core::secret::Secret;
use rave_runner::{ContainerPolicy, ExecutorKind, Finding, Health, SandboxPolicy};
use serde_json::json;

use super::settings::{Limits, settings};
use crate::config::Executor;
use crate::terminal::{Style, print};
use crate::wiring;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The executor that has to work
    #[arg(long, value_enum, default_value = "sandbox")]
    executor: Executor,
    /// The address of Docker or Podman
    #[arg(
        long,
        value_name = "URL",
        default_value = ContainerPolicy::DOCKER_SOCKET,
        env = "DOCKER_HOST"
    )]
    container_host: String,
    /// Where working copies and caches would be: the directory for the trials and the disk that is looked at
    #[arg(
        long,
        value_name = "DIR",
        default_value = "rave-runner",
        env = "RAVE_RUNNER_DATA"
    )]
    data: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Examines the machine. The exit status is 1 when the executor asked for does not work.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    // The trial looks at it from another root.
    let data = std::path::absolute(&args.data)
        .with_context(|| format!("cannot find {}", args.data.display()))?;
    let container = ContainerPolicy::new(&args.container_host);
    let none = Limits {
        memory: None,
        cpus: None,
        pids: None,
    };
    let config = settings(
        "http://127.0.0.1".to_owned(),
        Secret::new(""),
        data.clone(),
        "doctor".to_owned(),
        ExecutorKind::Container(container, SandboxPolicy::default()),
        &none,
    )?;
    super::install_tls();
    let existed = data.exists();
    let findings = wiring::runtime()?.block_on(rave_runner::examine(&config));
    if !existed {
        // The trials made it. It is empty but for theirs, and a leftover harms nobody.
        let _ = rave_runner::remove_tree(&data);
    }
    let usable = is_usable(args.executor, &findings);
    print(&match args.json {
        true => to_json(args.executor, usable, &findings),
        false => to_text(args.executor, usable, &findings, Style::stdout()),
    })?;
    Ok(ExitCode::from(u8::from(!usable)))
}

/// Whether everything that an executor needs works.
fn is_usable(executor: Executor, findings: &[Finding]) -> bool {
    let works = |subject: &str| {
        let found = findings.iter().find(|it| it.subject == subject);
        found.is_some_and(|it| it.health == Health::Works)
    };
    let has = match executor {
        Executor::Sandbox => works("sandbox"),
        Executor::Container => works("sandbox") && works("container"),
        Executor::Vm => {
            works("sandbox")
                && findings
                    .iter()
                    .any(|it| it.subject.starts_with("qemu") && it.health == Health::Works)
        }
        Executor::Shell => true,
    };
    has && works("git")
}

/// Returns the executor's name on the command line.
fn name(executor: Executor) -> String {
    let value = executor.to_possible_value();
    value.map_or_else(String::new, |it| it.get_name().to_owned())
}

fn to_json(executor: Executor, usable: bool, findings: &[Finding]) -> String {
    let findings: Vec<_> = findings
        .iter()
        .map(|it| {
            json!({"subject": it.subject, "health": it.health.name(), "text": it.text, "remedy": it.remedy})
        })
        .collect();
    let document = json!({"executor": name(executor), "usable": usable, "findings": findings});
    format!("{document:#}\n")
}

fn to_text(executor: Executor, usable: bool, findings: &[Finding], style: Style) -> String {
    let width = findings.iter().map(|it| it.subject.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.health {
            Health::Works => style.green("works  "),
            Health::Limited => style.yellow("limited"),
            Health::Missing => style.red("missing"),
        };
        let subject = style.bold(&format!("{:width$}", finding.subject));
        text.push_str(&format!("{mark}  {subject}  {}\n", finding.text));
        if let Some(remedy) = &finding.remedy {
            let indent = " ".repeat("works  ".len() + 2 + width + 2);
            text.push_str(&format!(
                "{indent}{}\n",
                style.dim(&format!("remedy: {remedy}"))
            ));
        }
    }
    let name = name(executor);
    let verdict = match usable {
        true => style.green(&format!("Jobs can run with the executor {name}.")),
        false => style.red(&format!("Jobs cannot run with the executor {name}.")),
    };
    text + "\n" + &verdict + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &'static str, health: Health) -> Finding {
        Finding {
            subject,
            health,
            text: "seen".to_owned(),
            remedy: (health != Health::Works).then(|| "do this".to_owned()),
        }
    }

    #[test]
    fn an_executor_is_usable_when_all_that_it_needs_works() {
        let findings = [
            finding("sandbox", Health::Works),
            finding("container", Health::Limited),
            finding("git", Health::Works),
        ];
        let usable = |executor| is_usable(executor, &findings);
        assert!(usable(Executor::Sandbox) && usable(Executor::Shell));
        assert!(!usable(Executor::Container));
        assert!(
            !is_usable(Executor::Shell, &findings[..2]),
            "git is missing"
        );
    }

    #[test]
    fn people_see_the_remedy_below() {
        let findings = [
            finding("sandbox", Health::Works),
            finding("KVM", Health::Limited),
        ];
        let style = Style::plain();
        insta::assert_snapshot!(to_text(Executor::Sandbox, false, &findings, style), @r"
        works    sandbox  seen
        limited  KVM      seen
                          remedy: do this

        Jobs cannot run with the executor sandbox.
        ");
    }
}
