//! What jobs used is kept, shown, and expected of their next runs.

use serde_json::{Value, json};

use super::{Place, World, on_both_engines};

on_both_engines!(what_a_job_used_is_shown_and_expected_again);

const MIB: u64 = 1 << 20;

async fn what_a_job_used_is_shown_and_expected_again(place: Place) {
    let world = World::new(place, "build:\n  parallel: 2\n  script: [x]\n").await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let first = world.start(&runner).await;
    assert_eq!(first["memory"]["expected_bytes"], Value::Null);
    let usage = json!({
        "request_bytes": 1024 * MIB, "limit_bytes": 2048 * MIB, "peak_bytes": 500 * MIB, "outgrew": false,
        "cpu_ms": 1500, "read_bytes": 10, "written_bytes": 20, "unknown": "key",
    });
    let end = json!({ "state": "success", "usage": usage });
    for _ in 0..2 {
        // The answer to the first may have been lost.
        let answer = world.as_job(&first, "PUT", "", end.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let path = format!("/projects/1/jobs/{}", first["id"]);
    let shown = world.get(&path).await.json()["resource_usage"].clone();
    assert_eq!(
        (&shown["peak_bytes"], &shown["cpu_ms"]),
        (&json!(500 * MIB), &json!(1500))
    );

    // The other part of the same job is expected to need as much and a fifth more.
    let second = world.start(&runner).await;
    assert_eq!(second["memory"]["expected_bytes"], 600 * MIB);
    let nonsense = json!({ "state": "success", "usage": { "peak_bytes": "much" } });
    assert_eq!(world.as_job(&second, "PUT", "", nonsense).await.status, 200);
    let path = format!("/projects/1/jobs/{}", second["id"]);
    assert_eq!(world.get(&path).await.json()["resource_usage"], Value::Null);
}
