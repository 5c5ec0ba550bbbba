//! What the demo builds: GNU hello out of Debian's archive, or a small project bundled in this program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rave_core::secret::Secret;
use tokio::process::Command;

use crate::terminal::{Style, say};

/// How long fetching the source may take before the bundled project serves instead.
const PATIENCE: Duration = Duration::from_secs(60);

const BUNDLED: &[(&str, &str)] = &[
    ("Makefile", include_str!("../../sample/Makefile")),
    ("README.md", include_str!("../../sample/README.md")),
    ("wordcount.c", include_str!("../../sample/wordcount.c")),
    ("tests/run.sh", include_str!("../../sample/tests/run.sh")),
    (".gitlab-ci.yml", include_str!("../../sample/gitlab-ci.yml")),
];

/// A project that is ready to be pushed.
pub(super) struct Project {
    pub(super) name: String,
    pub(super) title: String,
    dir: PathBuf,
}

/// Fetches the source and commits it with its pipeline.
pub(super) async fn fetch(place: &Path, bundled: bool) -> anyhow::Result<Project> {
    let style = Style::stderr();
    let hello = if bundled {
        None
    } else {
        Some(tokio::time::timeout(PATIENCE, hello(place)).await)
    };
    let project = match hello {
        Some(Ok(Ok(project))) => project,
        Some(failed) => {
            let why = failed.map_or_else(
                |_| "it took too long".to_owned(),
                |it| it.err().map(|it| it.to_string()).unwrap_or_default(),
            );
            say(&style.dim(&format!("GNU hello cannot be had from Debian's archive here ({why}); the bundled project serves instead")));
            sample(place)?
        }
        None => sample(place)?,
    };
    commit(&project).await?;
    Ok(project)
}

/// Gets hello's source by apt, with an own list of source repositories beside the system's, which stays as it is.
async fn hello(place: &Path) -> anyhow::Result<Project> {
    let apt = place.join("apt");
    let lists = apt.join("lists/partial");
    std::fs::create_dir_all(&lists).context("cannot make a directory")?;
    let sources = apt.join("sources.list");
    std::fs::write(&sources, source_repositories()?)
        .context("cannot write the list of repositories")?;
    let options = [
        format!("Dir::Etc::SourceList={}", sources.display()),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State::Lists={}", apt.join("lists").display()),
        format!("Dir::Cache={}", apt.join("cache").display()),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for option in &options {
            command.arg("-o").arg(option);
        }
        command
            .args(arguments)
            .current_dir(&apt)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(&mut get(&["-qq", "update"])).await?;
    run(&mut get(&["-qq", "source", "--download-only", "hello"])).await?;
    let archive = std::fs::read_dir(&apt)?
        .flatten()
        .map(|it| it.path())
        .find(|it| it.to_string_lossy().contains(".orig.tar."));
    let archive = archive.context("the archive has no source of hello")?;
    let dir = place.join("hello");
    std::fs::create_dir_all(&dir).context("cannot make a directory")?;
    run(Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&dir)
        .arg("--strip-components=1"))
    .await?;
    let file = archive
        .file_name()
        .map(|it| it.to_string_lossy().into_owned())
        .unwrap_or_default();
    let version = file
        .trim_start_matches("hello_")
        .split(".orig")
        .next()
        .unwrap_or_default()
        .to_owned();
    std::fs::write(
        dir.join(".gitlab-ci.yml"),
        include_str!("hello.gitlab-ci.yml"),
    )
    .context("cannot write the pipeline")?;
    Ok(Project {
        name: "hello".into(),
        title: format!("GNU hello {version}"),
        dir,
    })
}

/// Turns the system's repositories of packages into those of their sources.
fn source_repositories() -> anyhow::Result<String> {
    let mut list = String::new();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(
        std::fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
            .map(|it| it.path()),
    );
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if file.extension().is_some_and(|it| it == "sources") {
            list += &from_deb822(&text);
        } else {
            let lines = text.lines().filter_map(|it| it.trim().strip_prefix("deb "));
            list.extend(lines.map(|it| format!("deb-src {it}\n")));
        }
    }
    if list.is_empty() {
        bail!("this system has no Debian repositories");
    }
    Ok(list)
}

/// Turns the newer form of a list, paragraphs of fields, into lines.
fn from_deb822(text: &str) -> String {
    let paragraph = |paragraph: &str| {
        let field = |name: &str| {
            let line = paragraph
                .lines()
                .find_map(|it| it.strip_prefix(name)?.strip_prefix(':'));
            line.map(|it| it.trim().to_owned())
        };
        let (uris, suites) = (field("URIs")?, field("Suites")?);
        let components = field("Components").unwrap_or_default();
        let signed = field("Signed-By")
            .filter(|it| it.starts_with('/'))
            .map(|it| format!("[signed-by={it}] "))
            .unwrap_or_default();
        let pairs = uris
            .split_whitespace()
            .flat_map(|uri| suites.split_whitespace().map(move |suite| (uri, suite)));
        Some(
            pairs
                .map(|(uri, suite)| format!("deb-src {signed}{uri} {suite} {components}\n"))
                .collect::<String>(),
        )
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

fn sample(place: &Path) -> anyhow::Result<Project> {
    let dir = place.join("wordcount");
    for (name, text) in BUNDLED {
        let path = dir.join(name);
        let parent = path.parent().context("a bundled file has no directory")?;
        std::fs::create_dir_all(parent).context("cannot make a directory")?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Project {
        name: "wordcount".into(),
        title: "wordcount, a small C program".into(),
        dir,
    })
}

async fn commit(project: &Project) -> anyhow::Result<()> {
    run(git(project).args(["init", "-q", "-b", "main"])).await?;
    run(git(project).args(["add", "--all", "--force"])).await?;
    run(git(project).args(["commit", "-q", "-m", "Import the source and add a pipeline"])).await
}

/// Pushes to a project that does not exist yet: the push makes it.
pub(super) async fn push(project: &Project, remote: &str, token: &Secret) -> anyhow::Result<()> {
    // The token goes by the environment, where other users of the machine cannot read it.
    let helper = "!f() { echo username=root; echo \"password=$RAVE_DEMO_TOKEN\"; }; f";
    let mut command = git(project);
    command
        .env("RAVE_DEMO_TOKEN", token.expose())
        .arg("-c")
        .arg(format!("credential.helper={helper}"));
    run(command.args(["push", "-q", remote, "main"])).await
}

fn git(project: &Project) -> Command {
    let mut command = Command::new("git");
    command.current_dir(&project.dir);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "RAVE demo")
            .env(format!("GIT_{role}_EMAIL"), "demo@localhost");
    }
    command
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let output = output.with_context(|| format!("cannot start {name}; is it installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text
        .lines()
        .find(|it| !it.trim().is_empty())
        .unwrap_or_default();
    bail!("{name} failed: {first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_repository_lists_are_understood() {
        let text = "Types: deb\nURIs: http://a.example/debian\nSuites: x x-updates\nComponents: main\nSigned-By: /k.gpg\n";
        let lines = "deb-src [signed-by=/k.gpg] http://a.example/debian x main\ndeb-src [signed-by=/k.gpg] http://a.example/debian x-updates main\n";
        assert_eq!(from_deb822(text), lines);
    }
}
