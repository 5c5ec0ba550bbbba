//! Checks that are not a plain cargo command: `cargo xtask layers`.

use std::process::ExitCode;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// The layers, the lowest first. A crate depends on crates of lower layers only, never on its neighbours.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &["rave-core", "rave-ci-lang", "rave-nix"]),
    ("store, http", &["rave-store", "rave-http"]),
    ("blob", &["rave-blob"]),
    (
        "parts",
        &[
            "rave-auth",
            "rave-git",
            "rave-ci",
            "rave-cache",
            "rave-runner",
        ],
    ),
    ("binary", &["rave"]),
];

/// Crates for tests alone, which nothing but tests may depend on, and this one.
const OUTSIDE: &[&str] = &["rave-testkit", "xtask"];

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command"
)]
fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("layers") => match layers() {
            Ok(mistakes) if mistakes.is_empty() => {
                println!("layers: every dependency points down");
                ExitCode::SUCCESS
            }
            Ok(mistakes) => {
                mistakes.iter().for_each(|it| eprintln!("layers: {it}"));
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("layers: {error:#}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!(
                "usage: cargo xtask layers    check the crates' dependencies against ARCHITECTURE.md"
            );
            ExitCode::from(2)
        }
    }
}

fn layers() -> anyhow::Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cannot read the workspace")?;
    let packages = metadata.workspace_packages();
    let names: Vec<&str> = packages.iter().map(|it| it.name.as_str()).collect();
    let mut mistakes = Vec::new();
    for package in &packages {
        let name = package.name.as_str();
        if OUTSIDE.contains(&name) {
            continue;
        }
        let Some(own) = layer(name) else {
            mistakes.push(format!(
                "{name} has no layer: give it one in xtask and in ARCHITECTURE.md"
            ));
            continue;
        };
        let inside = package
            .dependencies
            .iter()
            .filter(|it| names.contains(&it.name.as_str()));
        for dependency in inside.filter(|it| it.kind != DependencyKind::Development) {
            mistakes.extend(judge(name, own, &dependency.name));
        }
    }
    Ok(mistakes)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, crates)| crates.contains(&name))
}

/// Returns what is wrong with a dependency, if anything is.
fn judge(name: &str, own: usize, dependency: &str) -> Option<String> {
    match layer(dependency) {
        Some(other) if other < own => None,
        Some(other) if other == own => Some(format!(
            "{name} depends on its neighbour {dependency} (layer {}): use a port in rave-core",
            LAYERS[own].0
        )),
        Some(other) => Some(format!(
            "{name} (layer {}) depends upwards on {dependency} (layer {})",
            LAYERS[own].0, LAYERS[other].0
        )),
        None => Some(format!(
            "{name} depends on {dependency}, which is for tests alone"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_downward_dependencies_are_right() {
        let wrong = |name: &str, dependency: &str| {
            judge(name, layer(name).expect("known"), dependency).is_some()
        };
        assert!(
            !wrong("rave-git", "rave-core")
                && !wrong("rave", "rave-ci")
                && !wrong("rave-ci", "rave-ci-lang")
        );
        assert!(wrong("rave-git", "rave-ci"), "neighbours");
        assert!(wrong("rave-core", "rave-store"), "upwards");
        assert!(wrong("rave-store", "rave-http"), "neighbours below");
        assert!(wrong("rave-git", "rave-testkit"), "tests alone");
    }
}
