//! Tells the server about one job: its log while it grows, that it still runs, and how it ended.
//!
//! At most one request is on its way at a time, so that the pieces of a log arrive in order. What the server answers
//! is how it cancels a job.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, ClientError, JobAnswer, Update, chain};
use crate::host::Usage;
use crate::trace::Trace;

/// The longest piece of a log that a server must take.
const LONGEST_PIECE: usize = 1 << 20;
/// How often the server hears of a job that prints nothing. Its answer is also how it cancels one.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The same for a server that does not mind being asked.
const LIVE_KEEP_ALIVE: Duration = Duration::from_secs(3);
/// How long output is gathered for a server that shows it live.
const LIVE_PACE: Duration = Duration::from_millis(80);
/// How often other servers want to hear, until they say so.
const DEFAULT_PACE: Duration = Duration::from_secs(3);
/// How often the end of a job is reported before the runner gives up.
const FINAL_ATTEMPTS: u32 = 10;
/// The same when the runner itself is told to end at once.
const HURRIED_ATTEMPTS: u32 = 3;

/// How a job is stopped from outside.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    /// The script stops: the user canceled, or everything stops.
    pub(crate) script: CancellationToken,
    /// Everything stops.
    pub(crate) all: CancellationToken,
    /// The server gave the job up, so that nothing is reported either.
    pub(crate) gone: CancellationToken,
    /// The runner is told to end at once, which is reported.
    pub(crate) interrupted: CancellationToken,
}

impl Stops {
    /// Makes the stops of a job that ends when `interrupted` is.
    pub(crate) fn new(interrupted: CancellationToken) -> Self {
        let all = interrupted.child_token();
        Self {
            script: all.child_token(),
            all,
            gone: CancellationToken::new(),
            interrupted,
        }
    }

    fn give_up(&self) {
        self.gone.cancel();
        self.all.cancel();
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Success,
    Failed {
        reason: Cow<'static, str>,
        exit_code: Option<i32>,
    },
}

/// The reports of one job.
pub(crate) struct Reporter {
    client: Arc<Client>,
    id: i64,
    token: String,
    trace: Trace,
    stops: Stops,
    known_reasons: Vec<String>,
    debug: bool,
    sent: u64,
    live: bool,
    pace: Duration,
    last_contact: Instant,
    /// What the job used, at its end.
    usage: Option<Usage>,
}

impl Reporter {
    pub(crate) fn new(
        client: Arc<Client>,
        job: &crate::wire::Job,
        trace: Trace,
        stops: Stops,
        live: bool,
    ) -> Self {
        let known_reasons = job.features.failure_reasons.clone();
        Self {
            client,
            id: job.id,
            token: job.token.clone(),
            trace,
            stops,
            known_reasons,
            debug: false,
            sent: 0,
            live,
            pace: DEFAULT_PACE,
            last_contact: Instant::now(),
            usage: None,
        }
    }

    /// Marks the log as one that shows every command, which the server then shows to fewer people.
    pub(crate) const fn set_debug(&mut self, debug: bool) {
        self.debug = debug;
    }

    /// Tells the server that the job has begun. Returns whether it is still this runner's.
    pub(crate) async fn announce(&mut self) -> bool {
        for attempt in 1..=5 {
            match self.update("running", None, None).await {
                Ok(answer) if matches!(answer.status, 403 | 404 | 409) => return false,
                Ok(answer) => {
                    self.heed(&answer);
                    return true;
                }
                Err(error) => {
                    tracing::warn!(
                        job.id = self.id,
                        error = chain(&error),
                        attempt,
                        "cannot announce a job"
                    );
                    sleep(Duration::from_millis(200 << attempt)).await;
                }
            }
        }
        // The job runs all the same: the log and the result are tried again later.
        true
    }

    /// Sends the log as it grows, until `done`.
    pub(crate) async fn follow(mut self, done: CancellationToken) -> Self {
        let mut last_piece = Instant::now() - DEFAULT_PACE;
        while !done.is_cancelled() && !self.stops.gone.is_cancelled() {
            if self.sent == self.trace.len() {
                tokio::select! {
                    () = self.trace.written() => {}
                    () = sleep_until(self.keep_alive_at()) => self.keep_alive().await,
                    () = done.cancelled() => break,
                }
                continue;
            }
            let pace = if self.live { LIVE_PACE } else { self.pace };
            tokio::select! {
                () = sleep_until(last_piece + pace) => {}
                () = sleep_until(self.keep_alive_at()) => self.keep_alive().await,
                () = done.cancelled() => break,
            }
            last_piece = Instant::now();
            if let Err(error) = self.send_piece().await {
                tracing::warn!(
                    job.id = self.id,
                    error = chain(&error),
                    "cannot send a job's log; trying again"
                );
                last_piece = Instant::now() + Duration::from_secs(1);
            }
        }
        self
    }

    fn keep_alive_at(&self) -> Instant {
        self.last_contact
            + if self.live {
                LIVE_KEEP_ALIVE
            } else {
                KEEP_ALIVE
            }
    }

    async fn keep_alive(&mut self) {
        match self.update("running", None, None).await {
            Ok(answer) if matches!(answer.status, 403 | 404) => self.stops.give_up(),
            Ok(answer) => self.heed(&answer),
            Err(error) => {
                self.last_contact = Instant::now();
                tracing::warn!(
                    job.id = self.id,
                    error = chain(&error),
                    "cannot tell that a job still runs"
                );
            }
        }
    }

    /// Sends the next piece of the log, if there is any.
    async fn send_piece(&mut self) -> Result<(), ClientError> {
        let piece = self.trace.read(self.sent, LONGEST_PIECE);
        let piece = piece.map_err(|source| ClientError::File {
            what: "read a job's log",
            source,
        })?;
        if piece.is_empty() {
            return Ok(());
        }
        let end = self.sent + piece.len() as u64;
        let answer = self
            .client
            .append_trace(
                self.id,
                &self.token,
                self.sent,
                Bytes::from(piece),
                self.debug,
            )
            .await?;
        match answer.status {
            202 | 200 => self.sent = end,
            // The server holds more or less than we think, for example after it was restored: it is right.
            416 => self.sent = answer.size.unwrap_or(0).min(self.trace.len()),
            403 => self.stops.give_up(),
            404 => self.sent = end,
            status => {
                let status = reqwest::StatusCode::from_u16(status).unwrap_or_default();
                let (what, message) = ("send a job's log", String::new());
                return Err(ClientError::Status {
                    what,
                    status,
                    message,
                    retry_after: None,
                });
            }
        }
        self.heed(&answer);
        Ok(())
    }

    async fn update(
        &self,
        state: &'static str,
        failure_reason: Option<&str>,
        exit_code: Option<i32>,
    ) -> Result<JobAnswer, ClientError> {
        let summary = self.trace.summary();
        let (checksum, len) = (summary.checksum.as_str(), summary.len);
        let update = Update {
            token: &self.token,
            state,
            failure_reason,
            exit_code,
            checksum,
            len,
            usage: self.usage.as_ref(),
        };
        self.client.update_job(self.id, &update).await
    }

    /// Does what an answer asks for beside its status.
    fn heed(&mut self, answer: &JobAnswer) {
        self.last_contact = Instant::now();
        self.live |= answer.live;
        self.pace = answer
            .interval
            .filter(|it| !it.is_zero())
            .unwrap_or(self.pace);
        match answer.job_status.as_str() {
            "canceling" => self.stops.script.cancel(),
            "canceled" | "failed" => self.stops.give_up(),
            _ => {}
        }
    }

    /// Sends the rest of the log and then the result, until the server has both. Returns whether there is nothing more to say.
    pub(crate) async fn finish(mut self, verdict: &Verdict, usage: Option<Usage>) -> bool {
        self.usage = usage;
        let known_reasons = std::mem::take(&mut self.known_reasons);
        let (state, reason, exit_code) = match verdict {
            Verdict::Success => ("success", None, None),
            Verdict::Failed { reason, exit_code } => {
                ("failed", Some(known(reason, &known_reasons)), *exit_code)
            }
        };
        let (mut attempt, mut pause) = (0, Duration::from_secs(1));
        let hurried = self.stops.interrupted.is_cancelled();
        let attempts = if hurried {
            HURRIED_ATTEMPTS
        } else {
            FINAL_ATTEMPTS
        };
        while attempt < attempts && !self.stops.gone.is_cancelled() {
            match self.try_finish(state, reason, exit_code).await {
                Ok(Final::Done) => return true,
                // The server still stores the log, and says itself when this ends.
                Ok(Final::Later(wait)) => sleep(wait).await,
                Ok(Final::Refused(status)) => {
                    tracing::warn!(
                        job.id = self.id,
                        status,
                        "the server refuses the result of a job"
                    );
                    attempt += 1;
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(3600));
                }
                Err(error) => {
                    tracing::warn!(
                        job.id = self.id,
                        error = chain(&error),
                        "cannot report the result of a job"
                    );
                    attempt += 1;
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(3600));
                }
            }
        }
        self.stops.gone.is_cancelled()
    }

    async fn try_finish(
        &mut self,
        state: &'static str,
        reason: Option<&str>,
        exit_code: Option<i32>,
    ) -> Result<Final, ClientError> {
        // Each piece advances, or is answered by 416 with the place to go on from; a server at odds with itself ends
        // the loop by its length.
        for _ in 0..1000 {
            if self.sent >= self.trace.len() || self.stops.gone.is_cancelled() {
                break;
            }
            self.send_piece().await?;
        }
        if self.stops.gone.is_cancelled() {
            return Ok(Final::Done);
        }
        let answer = self.update(state, reason, exit_code).await?;
        Ok(match answer.status {
            200 => Final::Done,
            202 => Final::Later(
                answer
                    .interval
                    .unwrap_or(DEFAULT_PACE)
                    .min(Duration::from_secs(64)),
            ),
            403 | 404 => {
                tracing::warn!(job.id = self.id, "the server knows the job no more");
                Final::Done
            }
            412 => {
                self.sent = 0;
                Final::Refused(412)
            }
            status => Final::Refused(status),
        })
    }
}

/// What became of one attempt to report a result.
enum Final {
    Done,
    Later(Duration),
    Refused(u16),
}

/// Returns a reason that the server knows, in place of one that it may not.
fn known<'a>(reason: &'a str, by_server: &[String]) -> &'a str {
    let always = matches!(
        reason,
        "script_failure" | "runner_system_failure" | "job_execution_timeout"
    );
    if always || by_server.iter().any(|it| it == reason) {
        return reason;
    }
    match reason {
        "runner_configuration_error" => "script_failure",
        "image_pull_failure" | "runner_external_dependency_failure" => "runner_system_failure",
        _ => "unknown_failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_reasons_are_mapped_to_known_ones() {
        assert_eq!(known("runner_interrupted", &[]), "unknown_failure");
        assert_eq!(
            known("runner_interrupted", &["runner_interrupted".to_owned()]),
            "runner_interrupted"
        );
        assert_eq!(known("script_failure", &[]), "script_failure");
        assert_eq!(known("runner_configuration_error", &[]), "script_failure");
    }
}
