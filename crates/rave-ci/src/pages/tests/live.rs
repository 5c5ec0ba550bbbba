//! Pages that follow what happens: the messages that a browser gets.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use rave_core::job::JobEvent;
use serde_json::Value;

use super::FILE;
use super::world::World;

/// How long a message may take that has to come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A message as a browser reads it.
#[derive(Debug)]
struct Message {
    kind: String,
    id: String,
    data: Value,
}

impl Message {
    /// Returns the HTML that is put in place of or added to an element.
    fn html(&self, how: &str, id: &str) -> Option<&str> {
        let changes = self.data.as_array()?;
        let found = changes
            .iter()
            .find(|it| it["how"] == how && it["id"] == id)?;
        found["html"].as_str()
    }
}

struct Listener {
    stream: BodyDataStream,
    buffer: String,
}

impl Listener {
    async fn open(world: &World, path: &str, last_id: Option<&str>) -> Self {
        let more: Vec<(&str, &str)> = last_id
            .map(|it| ("last-event-id", it))
            .into_iter()
            .collect();
        let response = world.send("reporter", "GET", path, "", &more).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            stream: response.into_body().into_data_stream(),
            buffer: String::new(),
        }
    }

    /// Returns the next message, `None` at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = message.lines();
                    let value =
                        |it: &str| it.strip_prefix(name).map(|it| it.trim_start().to_owned());
                    lines.filter_map(value).next().unwrap_or_default()
                };
                let (kind, id, data) = (field("event:"), field("id:"), field("data:"));
                self.buffer = rest.to_owned();
                if kind.is_empty() {
                    continue;
                }
                let data = serde_json::from_str(&data).unwrap();
                return Some(Message { kind, id, data });
            }
            let piece = tokio::time::timeout(DEADLINE, self.stream.next());
            let piece = piece.await.expect("a message in time")?.unwrap();
            self.buffer.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// Returns the first message that `wanted` finds something in.
    async fn until<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> (Message, T) {
        loop {
            let message = self.next().await.expect("a message before the end");
            if let Some(found) = wanted(&message) {
                return (message, found);
            }
        }
    }
}

/// Returns the address from which a page gets its changes.
fn live_address(page: &str) -> String {
    let from = page.find("data-live=\"").expect("a live page") + 11;
    let end = page[from..].find('"').expect("its end") + from;
    page[from..end].replace("&amp;", "&")
}

#[tokio::test]
async fn a_log_arrives_line_by_line_and_ends() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    world.start(pipeline, job).await;
    world
        .log(job, "section_start:1:a\r\x1b[0KBuilding\nfirst\n")
        .await;
    let page = world
        .page("reporter", &format!("/team/app/-/jobs/{job}"))
        .await;
    assert!(
        page.contains("id=\"section-1\"") && page.contains("first"),
        "{page}"
    );

    let mut listener = Listener::open(&world, &live_address(&page), None).await;
    world.log(job, "second\nhalf a li").await;
    let (message, added) = listener
        .until(|it| it.html("append", "section-1").map(str::to_owned))
        .await;
    assert!(
        added.contains("second") && !added.contains("first"),
        "only what is new: {added}"
    );
    assert!(added.contains("id=\"L3\""), "numbered on: {added}");
    let tail = message
        .html("replace", "log-unfinished")
        .expect("the incomplete line");
    assert!(tail.contains("half a li"), "{tail}");

    world.log(job, "ne\nsection_end:9:a\r\nlast\n").await;
    let (_, took) = listener
        .until(|it| it.html("replace", "took-1").map(str::to_owned))
        .await;
    assert!(took.contains("8.0s"), "{took}");
    world.happen(pipeline, job, JobEvent::Succeed, None).await;
    let (_, head) = listener
        .until(|it| it.html("replace", "job-head").map(str::to_owned))
        .await;
    assert!(head.contains("passed"), "{head}");
    listener.until(|it| (it.kind == "done").then_some(())).await;
    assert!(listener.next().await.is_none(), "the stream ends");
}

#[tokio::test]
async fn a_browser_that_comes_again_misses_and_repeats_nothing() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    world.start(pipeline, job).await;
    world.log(job, "one\n").await;
    let address = format!("/team/app/-/jobs/{job}/live?from=0");
    let mut listener = Listener::open(&world, &address, None).await;
    let (message, _) = listener
        .until(|it| it.html("append", "log-lines").map(str::to_owned))
        .await;
    assert_eq!(message.id, "4", "how far the log was shown");
    drop(listener);
    world.log(job, "two\n").await;
    let mut listener = Listener::open(&world, &address, Some(&message.id)).await;
    let (_, added) = listener
        .until(|it| it.html("append", "log-lines").map(str::to_owned))
        .await;
    assert!(added.contains("two") && !added.contains("one"), "{added}");
}

#[tokio::test]
async fn a_pipeline_shows_its_jobs_moving() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let page = world
        .page("reporter", &format!("/team/app/-/pipelines/{pipeline}"))
        .await;
    let mut listener = Listener::open(&world, &live_address(&page), None).await;
    let job = world.job(pipeline, "build").await;
    world.start(pipeline, job).await;
    world.happen(pipeline, job, JobEvent::Succeed, None).await;
    let passed = |it: &Message| {
        it.html("replace", "node-0")
            .filter(|it| it.contains("is-success"))
            .map(str::to_owned)
    };
    listener.until(passed).await;
    let page = world
        .page("reporter", &format!("/team/app/-/pipelines/{pipeline}"))
        .await;
    assert!(
        page.contains("is-success"),
        "a reload shows the same: {page}"
    );
}

#[tokio::test]
async fn live_pages_end_when_the_server_stops() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    let mut listener = Listener::open(&world, &format!("/team/app/-/jobs/{job}/live"), None).await;
    listener
        .until(|it| it.html("replace", "job-head").map(str::to_owned))
        .await;
    world.shared.shutdown.cancel();
    while listener.next().await.is_some() {}
}
