//! What a run leaves: logs and archives of artifacts in the cache directory until the next run, and the artifacts
//! themselves where the user wants them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rave_ci::local::{LocalJob, LocalPipeline};

use super::follow::Follow;

/// What was left.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    /// Names of the jobs that left artifacts.
    pub(super) jobs: Vec<String>,
    /// Where they are.
    pub(super) directory: PathBuf,
}

/// Leaves logs and artifacts. What an earlier run left in `last` is replaced; in `wanted`, what this one's jobs make.
pub(super) async fn leave(
    follow: &Follow<'_>,
    pipelines: &[LocalPipeline],
    last: &Path,
    wanted: Option<&Path>,
) -> anyhow::Result<Left> {
    let failed = || format!("cannot write {}", last.display());
    if last.exists() {
        rave_runner::remove_tree(last).with_context(failed)?;
    }
    for part in ["logs", "artifacts"] {
        fs::create_dir_all(last.join(part)).with_context(failed)?;
    }
    let mut left = Left {
        jobs: Vec::new(),
        directory: wanted.map_or_else(|| last.join("artifacts"), Path::to_owned),
    };
    for job in pipelines.iter().flat_map(|it| &it.jobs) {
        let name = file_name(&job.name);
        if job.log_bytes > 0 {
            let path = last.join("logs").join(format!("{name}.log"));
            fs::write(&path, follow.log(job.id).await?).with_context(failed)?;
        }
        if job.artifacts.iter().any(|it| it.kind == "archive") {
            let archive = last.join("artifacts").join(format!("{name}.zip"));
            if save(follow, job, &archive).await? {
                left.jobs.push(job.name.clone());
                if let Some(wanted) = wanted {
                    unpack(&archive, &wanted.join(&name))?;
                }
            }
        }
    }
    Ok(left)
}

async fn save(follow: &Follow<'_>, job: &LocalJob, path: &Path) -> anyhow::Result<bool> {
    let Some(mut reader) = follow.archive(job.id).await? else {
        return Ok(false);
    };
    let failed = || format!("cannot write {}", path.display());
    let mut file = tokio::fs::File::create(path).await.with_context(failed)?;
    tokio::io::copy(&mut reader, &mut file)
        .await
        .with_context(failed)?;
    tokio::io::AsyncWriteExt::flush(&mut file)
        .await
        .with_context(failed)?;
    Ok(true)
}

fn unpack(archive: &Path, into: &Path) -> anyhow::Result<()> {
    if into.exists() {
        rave_runner::remove_tree(into)
            .with_context(|| format!("cannot replace {}", into.display()))?;
    }
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let file =
        fs::File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    rave_runner::extract(file, into)
        .with_context(|| format!("cannot unpack the artifacts into {}", into.display()))?;
    Ok(())
}

/// Returns a job's name as a file's: slashes would be directories.
fn file_name(name: &str) -> String {
    let text: String = name
        .chars()
        .map(|it| {
            if it == '/' || it.is_control() {
                '_'
            } else {
                it
            }
        })
        .take(100)
        .collect();
    match text.as_str() {
        "." | ".." => text.replace('.', "_"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_become_names_of_files() {
        for (name, expected) in [
            ("build 1/2", "build 1_2"),
            ("..", "__"),
            ("a: [b, c]", "a: [b, c]"),
            ("x\n", "x_"),
        ] {
            assert_eq!(file_name(name), expected);
        }
    }
}
