//! Pages that change while one looks: server-sent events with the parts that changed and the lines that a log grew by.
//!
//! A stream looks when this process did something, and by a slow timer for what others did. What it sends is a difference
//! from what the page shows: the page says so by `seen` and `from`, a reconnecting browser by the id of the last message.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use rave_core::id::{JobId, PipelineId};
use rave_core::permission::{Access, ReadPipelines};
use rave_core::time::Timestamp;
use rave_http::{Authorized, HttpError, Page, Params};
use rave_store::EventSignal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::base::{self, Base};
use super::job_view::{self, JobView};
use super::jobs::{self, job_id};
use super::log_page;
use super::pipeline_view::{PipelineTab, PipelineView};
use super::pipelines::{self, Lasting, pipeline_id};
use super::queries;
use crate::error::CiError;
use crate::render::{LogRenderer, Patch, patches};
use crate::service::Ci;

/// How often a stream looks although nobody told it to.
const TICK: Duration = Duration::from_secs(1);
/// How many of those looks pass before one is at more than the log.
const TICKS: u32 = 5;
/// How soon after one look at the database the next may come, whatever happens on a busy server.
const PAUSE: Duration = Duration::from_millis(40);
/// How long a stream lives. The browser then comes again, and has to prove again that it may.
const LIFETIME: Duration = Duration::from_secs(300);

/// A page whose parts change.
pub(super) trait Parts {
    /// Sets the time that the page shows running durations for.
    fn set_now(&mut self, now: Timestamp) -> Timestamp;
    /// Returns the parts, by the id of their element.
    fn parts(&self) -> Vec<(String, String)>;
}

impl Parts for PipelineView {
    fn set_now(&mut self, now: Timestamp) -> Timestamp {
        std::mem::replace(&mut self.now, now)
    }

    fn parts(&self) -> Vec<(String, String)> {
        Self::parts(self)
    }
}

impl Parts for JobView {
    fn set_now(&mut self, now: Timestamp) -> Timestamp {
        std::mem::replace(&mut self.now, now)
    }

    fn parts(&self) -> Vec<(String, String)> {
        Self::parts(self)
    }
}

/// Returns the parts with running durations at zero: the browser counts them by itself, and no part differs from
/// before only because time went by.
fn timeless(view: &mut impl Parts) -> Vec<(String, String)> {
    let now = view.set_now(Timestamp(0));
    let parts = view.parts();
    view.set_now(now);
    parts
}

/// Returns what tells this state of a page from others.
pub(super) fn seen(view: &mut impl Parts) -> String {
    digest(&timeless(view))
}

fn digest(parts: &[(String, String)]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What the page shows now, as far as this stream knows.
#[derive(Default)]
struct Shown(BTreeMap<String, String>);

impl Shown {
    /// Notes that the page shows these parts, and returns those that it did not.
    fn update(&mut self, parts: Vec<(String, String)>) -> Vec<Value> {
        let mut changes = Vec::new();
        for (id, html) in parts {
            if self.0.get(&id) != Some(&html) {
                changes.push(json!({ "how": "replace", "id": id, "html": html }));
                self.0.insert(id, html);
            }
        }
        changes
    }
}

fn change(patch: Patch) -> Value {
    match patch {
        Patch::Append { id, html } => json!({ "how": "append", "id": id, "html": html }),
        Patch::Replace { id, html } => json!({ "how": "replace", "id": id, "html": html }),
    }
}

fn batch(id: &str, changes: &[Value]) -> Event {
    Event::default()
        .event("batch")
        .id(id)
        .data(Value::from(changes).to_string())
}

/// What wakes a stream.
struct Wake {
    events: EventSignal,
    logs: watch::Receiver<u64>,
    shutdown: CancellationToken,
    ends_at: Instant,
    not_before: Instant,
    ticks: u32,
}

/// Why a stream looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Something happened on the server.
    Event,
    /// It is time to look even though nothing happened.
    Look,
    /// A log grew, perhaps another one.
    Log,
    /// Time passed.
    Tick,
    End,
}

impl Wake {
    fn new(ci: &Ci, page: &Page) -> Self {
        Self {
            events: ci.db.events(),
            logs: ci.logs.subscribe(),
            shutdown: page.shared().shutdown.clone(),
            ends_at: Instant::now() + LIFETIME,
            not_before: Instant::now(),
            ticks: 0,
        }
    }

    async fn wait(&mut self) -> Reason {
        let tick = Instant::now() + TICK;
        let reason = tokio::select! {
            () = self.shutdown.cancelled() => Reason::End,
            () = sleep_until(self.ends_at) => Reason::End,
            () = self.events.changed() => Reason::Event,
            Ok(()) = self.logs.changed() => Reason::Log,
            () = sleep_until(tick) => Reason::Tick,
        };
        if reason != Reason::End {
            sleep_until(self.not_before).await;
            self.not_before = Instant::now() + PAUSE;
        }
        self.ticks += u32::from(reason == Reason::Tick);
        if reason == Reason::Tick && self.ticks.is_multiple_of(TICKS) {
            return Reason::Look;
        }
        reason
    }
}

/// A stream that a browser listens to.
trait Stream: Send + 'static {
    /// Returns the next message, `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Event>, HttpError>> + Send;
}

fn respond(stream: impl Stream) -> Response {
    let hello = Event::default()
        .retry(Duration::from_secs(1))
        .comment("live");
    let messages = stream::unfold((stream, Some(hello)), |(mut stream, hello)| async move {
        if let Some(hello) = hello {
            return Some((Ok::<_, Infallible>(hello), (stream, None)));
        }
        match stream.next().await {
            Ok(message) => message.map(|it| (Ok(it), (stream, None))),
            Err(error) => {
                // The browser comes again and finds the error answered as such, or gone.
                tracing::warn!(%error, "a live page ends early");
                None
            }
        }
    });
    let beat = KeepAlive::new().interval(Duration::from_secs(15));
    // A proxy that waits for the end would make a live page a dead one.
    (
        [("x-accel-buffering", "no")],
        Sse::new(messages).keep_alive(beat),
    )
        .into_response()
}

fn last_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok()
}

/// How far a stream has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The parts of the page have to be looked at.
    Look,
    /// They were, and have not changed since.
    Listen,
    /// Everything was sent but the end itself.
    End,
    Over,
}

struct LivePipeline {
    ci: Arc<Ci>,
    access: Access<ReadPipelines>,
    base: Base,
    id: PipelineId,
    tab: PipelineTab,
    lasting: Lasting,
    /// What tells whether anything can have changed since the last look.
    stamp: [i64; 6],
    shown: Shown,
    /// What the page showed before this stream.
    seen: Option<String>,
    wake: Wake,
    phase: Phase,
}

/// Streams the changes of a pipeline.
pub(super) async fn pipeline(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    let id = pipeline_id(&id)?;
    let wake = Wake::new(&ci, &page);
    Ok(respond(LivePipeline {
        base: base::of(&page, &access),
        lasting: pipelines::load_lasting(&ci, &access, id).await?,
        seen: last_id(&headers)
            .map(str::to_owned)
            .or_else(|| params.text("seen")),
        tab: PipelineTab::of_tail(&params.text("tab").unwrap_or_default()),
        stamp: [0; 6],
        shown: Shown::default(),
        phase: Phase::Look,
        wake,
        access,
        id,
        ci,
    }))
}

impl Stream for LivePipeline {
    async fn next(&mut self) -> Result<Option<Event>, HttpError> {
        loop {
            match self.phase {
                Phase::Over => return Ok(None),
                Phase::End => {
                    self.phase = Phase::Over;
                    return Ok(Some(Event::default().event("done").data("{}")));
                }
                Phase::Listen => match self.wake.wait().await {
                    Reason::End => return Ok(None),
                    Reason::Look => {}
                    // Most of what happens on a busy server happens to other pipelines.
                    Reason::Event if self.load_stamp().await? == self.stamp => continue,
                    Reason::Event => {}
                    Reason::Log | Reason::Tick => continue,
                },
                Phase::Look => {}
            }
            self.stamp = self.load_stamp().await?;
            let (ci, access, base) = (&self.ci, &self.access, self.base.clone());
            let mut view =
                pipelines::load(ci, access, base, self.id, self.tab, &self.lasting).await?;
            let parts = timeless(&mut view);
            let digest = digest(&parts);
            let mut changes = self.shown.update(parts);
            if self.seen.take().is_some_and(|it| it == digest) {
                changes.clear();
            }
            let ended = view.pipeline.status.is_finished() && !view.results.unread;
            self.phase = if ended { Phase::End } else { Phase::Listen };
            if !changes.is_empty() {
                return Ok(Some(batch(&digest, &changes)));
            }
        }
    }
}

impl LivePipeline {
    async fn load_stamp(&self) -> Result<[i64; 6], CiError> {
        let id = self.id;
        self.ci
            .db
            .read("ci_page_stamp", move |tx| Ok(queries::stamp(tx, id)?))
            .await
    }
}

struct LiveJob {
    ci: Arc<Ci>,
    access: Access<ReadPipelines>,
    base: Base,
    id: JobId,
    commit_title: String,
    shown: Shown,
    seen: Option<String>,
    renderer: LogRenderer,
    /// The sections that are open on the page.
    open: Vec<u32>,
    /// The incomplete line that the page shows, once one was sent.
    unfinished: Option<String>,
    wake: Wake,
    phase: Phase,
    ended: bool,
}

/// Streams the changes of a job and the lines of its log.
pub(super) async fn job(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    let id = job_id(&id)?;
    let wake = Wake::new(&ci, &page);
    let commit_title = jobs::load_commit_title(&ci, &access, id).await?;
    if !jobs::may_read_log(&ci, &access, id).await? {
        return Err(HttpError::forbidden(
            "only developers of the project may read this log",
        ));
    }
    let resumed = last_id(&headers).and_then(|it| it.parse::<u64>().ok());
    let given = params.text("from").and_then(|it| it.parse().ok());
    let from = resumed.or(given).unwrap_or(0);
    let renderer = log_page::skip(&ci, &access, id, from).await?;
    Ok(respond(LiveJob {
        base: base::of(&page, &access),
        open: renderer.open_sections().map(|it| it.section).collect(),
        seen: params.text("seen").filter(|_| resumed.is_none()),
        shown: Shown::default(),
        unfinished: None,
        phase: Phase::Look,
        ended: false,
        commit_title,
        renderer,
        wake,
        access,
        id,
        ci,
    }))
}

impl LiveJob {
    /// Looks at everything but the log.
    async fn look(&mut self) -> Result<Vec<Value>, HttpError> {
        let (ci, access) = (&self.ci, &self.access);
        let mut view =
            jobs::load(ci, access, self.base.clone(), self.id, &self.commit_title).await?;
        self.ended = view.job.status().is_finished();
        let parts = timeless(&mut view);
        let same = self.seen.take().is_some_and(|it| it == digest(&parts));
        let changes = self.shown.update(parts);
        Ok(if same { Vec::new() } else { changes })
    }

    /// Reads on in the log. Returns what it adds to the page, and whether there is more now.
    async fn read_on(&mut self) -> Result<(Vec<Value>, bool), HttpError> {
        let from = self.renderer.offset();
        let slice = self
            .ci
            .read_log(&self.access, self.id, from, log_page::PIECE)
            .await?;
        let mut changes = Vec::new();
        if from == 0 && !slice.bytes.is_empty() {
            changes.push(json!({ "how": "replace", "id": job_view::NOTE, "html": "" }));
        }
        let mut pieces = self.renderer.feed(&slice.bytes);
        let more = !slice.bytes.is_empty() && self.renderer.offset() < slice.size_bytes;
        // The last bytes of a log may have come after the look at the job, but none come after it ended.
        if self.ended && slice.complete && !more {
            pieces.extend(self.renderer.finish());
            self.phase = Phase::End;
        } else if slice.complete && !more {
            self.phase = Phase::Look;
        }
        changes.extend(patches(&mut self.open, &pieces).into_iter().map(change));
        let unfinished = match self.phase {
            Phase::End => String::new(),
            _ => self.renderer.unfinished(),
        };
        if self.unfinished.as_ref() != Some(&unfinished) {
            let html = job_view::unfinished(&unfinished);
            changes.push(json!({ "how": "replace", "id": job_view::UNFINISHED, "html": html }));
            self.unfinished = Some(unfinished);
        }
        Ok((changes, more))
    }
}

impl Stream for LiveJob {
    async fn next(&mut self) -> Result<Option<Event>, HttpError> {
        let mut look = self.phase == Phase::Look;
        loop {
            match self.phase {
                Phase::Over => return Ok(None),
                Phase::End => {
                    self.phase = Phase::Over;
                    return Ok(Some(Event::default().event("done").data("{}")));
                }
                Phase::Look | Phase::Listen => {}
            }
            let mut changes = Vec::new();
            if look {
                self.phase = Phase::Listen;
                changes = self.look().await?;
            }
            let (added, more) = self.read_on().await?;
            changes.extend(added);
            if !changes.is_empty() {
                return Ok(Some(batch(&self.renderer.offset().to_string(), &changes)));
            }
            look = self.phase == Phase::Look;
            if look || more || self.phase == Phase::End {
                continue;
            }
            match self.wake.wait().await {
                Reason::End => return Ok(None),
                Reason::Event | Reason::Look => look = true,
                Reason::Log | Reason::Tick => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent() {
        let part = |id: &str, html: &str| (id.to_owned(), html.to_owned());
        let mut shown = Shown::default();
        let first = shown.update(vec![part("a", "1"), part("b", "1")]);
        assert_eq!(first.len(), 2);
        assert_eq!(
            shown.update(vec![part("a", "1"), part("b", "2")]),
            [json!({"how": "replace", "id": "b", "html": "2"})]
        );
        assert!(shown.update(vec![part("a", "1")]).is_empty());
        assert_ne!(digest(&[part("a", "1")]), digest(&[part("a", "2")]));
    }
}
