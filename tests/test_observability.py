"""What operators look at: health, metrics, logs and traces."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.server import Server
from harness.world import World

Make = Callable[..., Server]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"


def test_health_and_readiness(server: Server) -> None:
    assert server.get("/-/health").status_code == 200
    ready = server.get("/-/ready")
    assert ready.status_code == 200
    assert ready.json() == {"database_check": [{"status": "ok"}], "status": "ok"}


def test_metrics_are_valid_and_private(server: Server, world: World) -> None:
    world.root.get("/version")
    answer = server.get("/metrics")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    checked = subprocess.run(["promtool", "check", "metrics"], input=answer.text, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0 and checked.stderr == "", f"{checked.stdout}{checked.stderr}\n{answer.text}"
    counted = re.findall(r'rave_http_requests_total\{[^}]*route="/api/v4/version"[^}]*\} (\d+)', answer.text)
    assert counted and int(counted[0]) >= 1, answer.text
    assert re.search(r"^rave_ci_", answer.text, re.M), "continuous integration has no metrics"
    assert re.search(r"^rave_blob_objects \d+$", answer.text, re.M), "the object store has no metrics"
    assert server.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 401


def test_json_logs_parse_and_carry_traces(own_server: Make) -> None:
    server = own_server(arguments=("--log-format", "json")).start()
    parent = f"00-{TRACE_ID}-{SPAN_ID}-01"
    answer = server.get("/api/v4/projects", headers={"traceparent": parent})
    assert answer.headers["traceparent"].startswith(f"00-{TRACE_ID}-") and SPAN_ID not in answer.headers["traceparent"]
    fresh = server.get("/api/v4/projects").headers["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fresh) and TRACE_ID not in fresh
    assert server.get("/-/health", headers={"traceparent": "garbage"}).headers["traceparent"] != "garbage"
    assert server.stop() == 0

    lines = [it for it in server.log().splitlines() if not it.startswith(("RAVE is ready", "Claim the"))]
    events = [json.loads(it) for it in lines]
    assert all({"timestamp", "level", "message"} <= it.keys() for it in events)
    answered = [it for it in events if it["message"] == "request answered" and it["span"]["http.path"] == "/api/v4/projects"]
    assert [it["span"]["trace.id"] == TRACE_ID for it in answered] == [True, False]
    assert all(it["span"]["request.id"] for it in answered)


def test_a_trace_reaches_from_the_push_to_the_job(own_server: Make, scratch: Path) -> None:
    server = own_server(arguments=("--log-format", "json")).start()
    project = World(server, scratch).project()
    project.work.git("config", "http.extraHeader", f"traceparent: 00-{TRACE_ID}-{SPAN_ID}-01")
    project.push_ci("work:\n  script: echo hello\n").end("success")
    assert server.stop() == 0
    traced = [line for line in server.log().splitlines() if TRACE_ID in line]
    said = " ".join(traced)
    for thing in ("git-receive-pack", "pipeline", "job"):
        assert thing in said, f"no line of the trace speaks of {thing}:\n" + "\n".join(traced)
