//! The server's own runner, by the section `runner` of its configuration.

use std::time::Duration;

use rave_core::secret::Secret;
use rave_runner::S3Cache;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::make;
use super::settings::{Limits, executor, settings};
use crate::config::{self, Config};
use crate::wiring::Base;

/// How long the embedded runner may take to report the jobs that it gives up.
const REPORT: Duration = Duration::from_secs(15);

/// The server's own runner. It speaks HTTP to its server like any other.
pub(crate) struct Embedded {
    drain: CancellationToken,
    abort: CancellationToken,
    running: JoinHandle<()>,
}

impl Embedded {
    pub(crate) fn start(
        config: &Config,
        base: &Base,
        url: &str,
        token: Secret,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let wanted = &config.runner;
        let limits = Limits {
            memory: wanted.job_memory_bytes,
            cpus: wanted.job_cpus,
            pids: wanted.job_pids,
        };
        let sandbox = wanted.sandbox.clone();
        let executor = executor(
            wanted.executor,
            sandbox,
            &wanted.container,
            wanted.vm.clone(),
        );
        let data = base.dir.run().join("runner");
        let mut settings = settings(
            url.to_owned(),
            token,
            data,
            "embedded".to_owned(),
            executor,
            &limits,
        )?;
        settings.concurrency = wanted.concurrency;
        settings.images = wanted.images.clone();
        settings.shell_user.clone_from(&wanted.shell_user);
        if let Some(dir) = &wanted.builds_dir {
            settings.builds_dir.clone_from(dir);
        }
        let bucket = wanted.cache.as_ref();
        settings.cache_s3 = bucket
            .map(|it| open_bucket(it, wanted.cache_shared))
            .transpose()?;
        settings.memory = wanted.memory;
        settings.disk_reserve_bytes = wanted.disk_reserve_bytes;
        settings.job_disk_bytes = wanted.job_disk_bytes;
        settings.clock = base.clock.clone();
        let runner = make(settings)?;
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let running = runner.run(drain.clone(), abort.clone());
        let running = tasks.spawn(async move {
            if let Err(error) = running.await {
                tracing::error!(error = %rave_http::error::chain(&error), "the embedded runner stopped; jobs wait for another");
            }
        });
        Ok(Self {
            drain,
            abort,
            running,
        })
    }

    /// Gives up the jobs that run, while the server can still note it: they are tried again after the next start.
    pub(crate) async fn stop(self) {
        self.drain.cancel();
        self.abort.cancel();
        if tokio::time::timeout(REPORT, self.running).await.is_err() {
            tracing::warn!("the embedded runner did not stop in time");
        }
    }
}

/// Reads the key of a bucket, from a file as Amazon's own tools write it.
fn open_bucket(bucket: &config::bucket::Bucket, shared: bool) -> anyhow::Result<S3Cache> {
    let credentials = bucket.credentials()?;
    Ok(S3Cache {
        server_address: bucket.server_address.clone(),
        insecure: false,
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        access_key: credentials.access_key,
        secret_key: credentials.secret_key,
        session_token: credentials.session_token,
        path: bucket.path.clone(),
        shared,
        path_style: None,
    })
}
