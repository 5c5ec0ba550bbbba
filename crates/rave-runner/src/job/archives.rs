//! The stages that move files: caches, the artifacts of other jobs, and the job's own artifacts.

use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempPath;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stages::{Failure, Stages, blocking};
use crate::cache::s3::{S3, S3Error};
use crate::cache::{CacheError, clean_key};
use crate::client::artifacts::Upload;
use crate::client::chain;
use crate::exec::{Outcome, Whose};
use crate::files::collect::{Collected, Finding, Wanted, collect};
use crate::files::pack::{Level, pack};
use crate::files::tree::Relative;
use crate::files::unpack::{OutwardLinks, unpack};
use crate::trace::Tone;
use crate::wire;

/// The longest list of untracked files that is read.
const LONGEST_LIST: u64 = 64 << 20;

/// Says whether something with this `when` is due.
fn is_due(when: &str, success: bool) -> bool {
    match when {
        "always" => true,
        "on_failure" => !success,
        _ => success,
    }
}

impl Stages<'_> {
    fn cache_keys(&self, cache: &wire::Cache) -> Vec<String> {
        let default = || format!("{}/{}", self.job.job_info.name, self.job.git_info.reference);
        let own = if cache.key.is_empty() {
            default()
        } else {
            self.variables.expand(&cache.key)
        };
        let fallback = cache
            .fallback_keys
            .iter()
            .map(|it| self.variables.expand(it));
        // Anyone can set the variable, so it must not name what only protected branches may write.
        let by_variable = self.variables.get("CACHE_FALLBACK_KEY").to_owned();
        let by_variable = Some(by_variable).filter(|it| !it.ends_with("-protected"));
        let all = std::iter::once(own).chain(fallback).chain(by_variable);
        all.filter_map(|it| clean_key(&it)).collect()
    }

    /// Restores each cache from the first of its keys. A cache that fails is only a warning.
    pub(super) async fn restore_caches(&self) -> Result<(), Failure> {
        let policy = |it: &wire::Cache| self.variables.expand(&it.policy);
        let caches: Vec<_> = self
            .job
            .cache
            .iter()
            .filter(|it| policy(it) != "push")
            .collect();
        if caches.is_empty() {
            return Ok(());
        }
        self.section("restore_cache", "Restoring cache", async {
            for cache in caches {
                let keys = self.cache_keys(cache);
                let shown = keys.first().cloned().unwrap_or_default();
                self.trace
                    .line(Tone::Notice, &format!("Checking cache for {shown}..."));
                match self.restore(keys).await {
                    Ok(Some(key)) => self
                        .trace
                        .line(Tone::Plain, &format!("Restored the cache of {key}")),
                    Ok(None) => self.trace.line(Tone::Plain, "There is none yet"),
                    Err(error) => self.trace.line(Tone::Warning, &format!("WARNING: {error}")),
                }
            }
        })
        .await;
        Ok(())
    }

    async fn restore(&self, keys: Vec<String>) -> io::Result<Option<String>> {
        let mut left = self.attempts("RESTORE_CACHE_ATTEMPTS");
        loop {
            let restored = match &self.shared.bucket {
                None => self.restore_local(keys.clone()).await,
                Some(bucket) => self.restore_from(bucket, &keys).await,
            };
            left -= 1;
            if restored.is_ok() || left == 0 || self.stops.script.is_cancelled() {
                return restored;
            }
        }
    }

    /// Reads how often something is tried.
    fn attempts(&self, variable: &str) -> u32 {
        let attempts = self.variables.get(variable).trim().parse();
        attempts.unwrap_or(1_u32).clamp(1, 10)
    }

    async fn restore_local(&self, keys: Vec<String>) -> io::Result<Option<String>> {
        let (caches, place) = (self.shared.caches.clone(), self.place.clone());
        let (project, now) = (self.job.job_info.project_id, self.shared.config.clock.now());
        blocking(move || {
            let tree = place.project_tree()?;
            let restored = caches.restore(project, &keys, &tree, now).map_err(plain)?;
            Ok(restored.map(str::to_owned))
        })
        .await
    }

    async fn restore_from(&self, bucket: &S3, keys: &[String]) -> io::Result<Option<String>> {
        for key in keys {
            let builds = self.shared.config.builds_dir.clone();
            let file = blocking(move || tempfile::NamedTempFile::new_in(builds)).await?;
            let object = bucket.object(self.job.job_info.project_id, key);
            let fetched = bucket.fetch(&object, file.path(), self.shared.config.clock.now());
            if self.in_time(fetched, &self.stops.script).await? {
                let place = self.place.clone();
                let unpacked = blocking(move || {
                    unpack(file.reopen()?, &place.project_tree()?, OutwardLinks::Make)
                        .map_err(|it| io::Error::other(chain(&it)))
                });
                unpacked.await?;
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    /// Lets a transfer of a cache take as long as it may.
    async fn in_time<T>(
        &self,
        transfer: impl Future<Output = Result<T, S3Error>>,
        stop: &CancellationToken,
    ) -> io::Result<T> {
        let minutes = self.variables.get("CACHE_REQUEST_TIMEOUT").trim().parse();
        let most = Duration::from_secs(60 * minutes.unwrap_or(10).clamp(1, 1440));
        let deadline = self.deadline.min(Instant::now() + most);
        tokio::select! {
            done = transfer => done.map_err(|it| io::Error::other(chain(&it))),
            () = stop.cancelled() => Err(io::Error::other("canceled")),
            () = tokio::time::sleep_until(deadline) => Err(io::Error::other("the transfer took too long")),
        }
    }

    /// Saves the caches that are due. A cache that fails is only a warning.
    pub(super) async fn save_caches(&self, success: bool) {
        let policy = |it: &wire::Cache| self.variables.expand(&it.policy);
        let due = |it: &&wire::Cache| policy(it) != "pull" && is_due(&it.when, success);
        let caches: Vec<_> = self.job.cache.iter().filter(due).collect();
        if caches.is_empty() {
            return;
        }
        let (name, title) = match success {
            true => ("archive_cache", "Saving cache for successful job"),
            false => ("archive_cache_on_failure", "Saving cache for failed job"),
        };
        self.section(name, title, async {
            for cache in caches {
                let Some(key) = self.cache_keys(cache).into_iter().next() else {
                    continue;
                };
                self.trace
                    .line(Tone::Notice, &format!("Creating cache {key}..."));
                match self.save(cache, key).await {
                    Ok(0) => self.trace.line(Tone::Plain, "There is nothing to save"),
                    Ok(count) => self
                        .trace
                        .line(Tone::Plain, &format!("Saved {count} files and directories")),
                    Err(error) => self.trace.line(Tone::Warning, &format!("WARNING: {error}")),
                }
            }
        })
        .await;
    }

    async fn save(&self, cache: &wire::Cache, key: String) -> io::Result<usize> {
        let collected = self.collect(&cache.paths, &[], cache.untracked).await?;
        if collected.paths.is_empty() {
            return Ok(0);
        }
        let level = Level::named(self.variables.get("CACHE_COMPRESSION_LEVEL"));
        let (project, now) = (self.job.job_info.project_id, self.shared.config.clock.now());
        if let Some(bucket) = &self.shared.bucket {
            let (file, count) = self.pack(collected, "zip".to_owned(), level).await?;
            let object = bucket.object(project, &key);
            let stored = bucket.store(&object, &file, now);
            self.in_time(stored, &self.stops.all).await?;
            return Ok(count);
        }
        let (caches, place) = (self.shared.caches.clone(), self.place.clone());
        blocking(move || {
            let tree = place.project_tree()?;
            caches
                .save(project, &key, &tree, collected.paths.iter(), level, now)
                .map_err(plain)
        })
        .await
    }

    /// Packs files into an archive beside the builds.
    async fn pack(
        &self,
        collected: Collected,
        format: String,
        level: Level,
    ) -> io::Result<(TempPath, usize)> {
        let (place, builds) = (self.place.clone(), self.shared.config.builds_dir.clone());
        blocking(move || {
            let mut file = tempfile::NamedTempFile::new_in(builds)?;
            let (tree, paths) = (place.project_tree()?, collected.paths.iter());
            let count = pack(&tree, paths, &format, level, file.as_file_mut());
            let count = count.map_err(|it| io::Error::other(chain(&it)))?;
            Ok((file.into_temp_path(), count))
        })
        .await
    }

    /// Finds files in the project and says in the log what was found.
    async fn collect(
        &self,
        paths: &[String],
        exclude: &[String],
        untracked: bool,
    ) -> io::Result<Collected> {
        let expand = |it: &[String]| it.iter().map(|it| self.variables.expand(it)).collect();
        let untracked = if untracked {
            self.list_untracked().await?
        } else {
            Vec::new()
        };
        let wanted = Wanted {
            paths: expand(paths),
            exclude: expand(exclude),
            untracked,
        };
        let place = self.place.clone();
        let collected =
            blocking(move || collect(&place.project_tree()?, &wanted, &place.job_project)).await?;
        for finding in &collected.findings {
            match finding {
                Finding::Found { pattern, count } => {
                    self.trace.line(
                        Tone::Plain,
                        &format!("{pattern}: found {count} matching files and directories"),
                    );
                }
                Finding::Nothing { pattern } => {
                    let text = format!(
                        "WARNING: {pattern}: no matching files below the project directory"
                    );
                    self.trace.line(Tone::Warning, &text);
                }
                Finding::Refused(error) => {
                    self.trace.line(Tone::Warning, &format!("WARNING: {error}"))
                }
            }
        }
        Ok(collected)
    }

    /// Asks git, in the job's executor, for the files that it does not know.
    async fn list_untracked(&self) -> io::Result<Vec<String>> {
        let name = "rave-untracked";
        let command = format!(
            "git -c core.fsmonitor=false ls-files -o -z > \"$RUNNER_TEMP_PROJECT_DIR\"/{name}\n"
        );
        let outcome = self
            .execute(
                command,
                &self.variables,
                self.deadline,
                &self.stops.all,
                Whose::Inspection,
            )
            .await;
        if outcome != Outcome::Exited(0) {
            return Err(io::Error::other("git cannot list the untracked files"));
        }
        let place = self.place.clone();
        blocking(move || {
            let path = Relative::new(Path::new(name)).ok_or(io::ErrorKind::InvalidInput)?;
            let mut text = String::new();
            let file = place.temporary_tree()?.read(&path)?;
            io::Read::read_to_string(&mut io::Read::take(file, LONGEST_LIST), &mut text)?;
            Ok(text
                .split('\0')
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect())
        })
        .await
    }

    /// Downloads and unpacks the artifacts of the jobs that this one needs.
    pub(super) async fn download_dependencies(&self) -> Result<(), Failure> {
        let has_file = |it: &&wire::Dependency| !it.artifacts_file.filename.is_empty();
        let dependencies: Vec<_> = self.job.dependencies.iter().filter(has_file).collect();
        if dependencies.is_empty() {
            return Ok(());
        }
        self.section("download_artifacts", "Downloading artifacts", async {
            for dependency in dependencies {
                let text = format!(
                    "Downloading artifacts for {} ({})...",
                    dependency.name, dependency.id
                );
                self.trace.line(Tone::Notice, &text);
                let mut left = self.attempts("ARTIFACT_DOWNLOAD_ATTEMPTS");
                while let Err(reason) = self.download(dependency).await {
                    left -= 1;
                    let text = format!("cannot get the artifacts of {}: {reason}", dependency.name);
                    if left == 0 || self.stops.script.is_cancelled() {
                        return Err(Failure::System(text));
                    }
                    let text = format!("WARNING: {text}; trying again");
                    self.trace.line(Tone::Warning, &text);
                }
            }
            Ok(())
        })
        .await
    }

    async fn download(&self, dependency: &wire::Dependency) -> Result<(), String> {
        let builds = self.shared.config.builds_dir.clone();
        let file = blocking(move || tempfile::NamedTempFile::new_in(builds))
            .await
            .map_err(|it| it.to_string())?;
        let transfer =
            self.shared
                .client
                .download_artifact(dependency.id, &dependency.token, file.path());
        let transferred = tokio::select! {
            transferred = transfer => transferred.map_err(|it| chain(&it)),
            () = self.stops.script.cancelled() => Err("canceled".to_owned()),
            () = tokio::time::sleep_until(self.deadline) => Err("the job's time was up".to_owned()),
        };
        transferred?;
        let place = self.place.clone();
        let unpacked = blocking(move || {
            unpack(file.reopen()?, &place.project_tree()?, OutwardLinks::Skip)
                .map_err(|it| io::Error::other(chain(&it)))
        });
        let unpacked = unpacked.await.map_err(|it| it.to_string())?;
        self.trace.line(
            Tone::Plain,
            &format!("Unpacked {} files and directories", unpacked.entries),
        );
        for link in &unpacked.skipped_links {
            let text = format!(
                "WARNING: left out the link {link}, which leads out of the project directory"
            );
            self.trace.line(Tone::Warning, &text);
        }
        Ok(())
    }

    /// Uploads the artifacts that are due.
    pub(super) async fn upload_artifacts(&self, success: bool) -> Result<(), Failure> {
        let due: Vec<_> = self
            .job
            .artifacts
            .iter()
            .filter(|it| is_due(&it.when, success))
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let (name, title) = match success {
            true => (
                "upload_artifacts_on_success",
                "Uploading artifacts for successful job",
            ),
            false => (
                "upload_artifacts_on_failure",
                "Uploading artifacts for failed job",
            ),
        };
        self.section(name, title, async {
            let mut result = Ok(());
            for artifact in due {
                self.trace.line(Tone::Notice, "Uploading artifacts...");
                if let Err(reason) = self.upload(artifact).await {
                    self.trace.line(Tone::Error, &format!("ERROR: {reason}"));
                    result = result.and(Err(Failure::System(
                        "cannot upload the artifacts".to_owned(),
                    )));
                }
            }
            result
        })
        .await
    }

    async fn upload(&self, artifact: &wire::Artifact) -> Result<(), String> {
        let collected = self
            .collect(&artifact.paths, &artifact.exclude, artifact.untracked)
            .await;
        let collected = collected.map_err(|it| it.to_string())?;
        if collected.paths.is_empty() {
            self.trace.line(Tone::Plain, "There are no files to upload");
            return Ok(());
        }
        let level = Level::named(self.variables.get("ARTIFACT_COMPRESSION_LEVEL"));
        let packed = self.pack(collected, artifact.artifact_format.clone(), level);
        let (file, count) = packed.await.map_err(|it| it.to_string())?;
        if count == 0 {
            return Ok(());
        }
        let upload = Upload {
            job_id: self.job.id,
            token: &self.job.token,
            file: &file,
            filename: &self.filename(artifact),
            artifact_type: &artifact.artifact_type,
            artifact_format: &artifact.artifact_format,
            expire_in: &artifact.expire_in,
        };
        let transferred = tokio::select! {
            transferred = self.shared.client.upload_artifact(&upload) => transferred.map_err(|it| chain(&it)),
            () = self.stops.all.cancelled() => Err("canceled".to_owned()),
            () = tokio::time::sleep_until(self.deadline) => Err("the job's time was up".to_owned()),
        };
        transferred?;
        let kind = if artifact.artifact_type.is_empty() {
            "archive"
        } else {
            &artifact.artifact_type
        };
        self.trace.line(
            Tone::Plain,
            &format!("Uploaded {count} files and directories as \"{kind}\""),
        );
        Ok(())
    }

    /// Returns the name under which an artifact is stored: its own, or the default, with the format's ending.
    fn filename(&self, artifact: &wire::Artifact) -> String {
        let name = match artifact.name.as_str() {
            "" => "artifacts".to_owned(),
            name => self.variables.expand(name),
        };
        let name = name
            .rsplit('/')
            .next()
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .unwrap_or("default")
            .to_owned();
        match artifact.artifact_format.as_str() {
            "" | "zip" => format!("{name}.zip"),
            "gzip" => format!("{name}.gz"),
            _ => name,
        }
    }
}

fn plain(error: CacheError) -> io::Error {
    io::Error::other(chain(&error))
}
