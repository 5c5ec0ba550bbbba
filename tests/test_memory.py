"""Memory and disk as a budget: who waits for what, who gets more after too little, and many jobs on a small budget."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.gate import Gates
from harness.server import Server
from harness.wait import wait_for
from harness.world import Run, World, unique

# The decisions do not depend on the database; `crates/rave-ci/src/tests/admission.rs` asks on both.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True, scope="session")

MIB = 1 << 20
Make = Callable[..., Server]


def world_with(own_server: Make, scratch: Path, **settings: int) -> World:
    """A server whose jobs share 256 MiB."""
    lines = ["[runner]", 'profile = "full"', "concurrency = 6", f"memory_bytes = {256 * MIB}"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    return World(own_server(config="\n".join(lines) + "\n").start(), scratch)


def takes(mib: int) -> str:
    """A command that has so much memory at once."""
    return f"head -c {mib}M /dev/zero | tail -c {mib}M | wc -c"


def tries(run: Run, name: str) -> list[str]:
    """The statuses of all tries of a job, the first one first."""
    jobs = run.pipeline.jobs.list(get_all=True, include_retried=True)
    return [it.status for it in sorted(jobs, key=lambda it: it.id) if it.name == name]


def test_a_job_waits_for_memory_and_says_for_what(own_server: Make, scratch: Path, gates: Gates) -> None:
    world = world_with(own_server, scratch)
    word = unique("memory")
    run = world.ci(f"""
first: {{variables: {{RAVE_MEMORY: 200Mi}}, script: ["{gates.wait_command(word)}"]}}
second: {{variables: {{RAVE_MEMORY: 128Mi}}, script: echo second}}
small: {{variables: {{KUBERNETES_MEMORY_REQUEST: 32Mi}}, script: echo small}}
""")
    gates.wait_for_arrival(word)
    run.wait_for_job("small", "success")
    first = run.job("first")

    def waits() -> bool:
        job = run.job("second")
        return job.status == "pending" and job.attributes["pending_reason"] == "runners_lack_memory"

    wait_for("the reason", waits)
    sentence = f"Needs 128 MiB of memory, 56 MiB free: waits for job {first.id}"
    wait_for("the figures", lambda: run.job("second").attributes["pending_message"] == sentence)
    page = world.root.sign_in().get(f"{run.project.url}/-/jobs/{run.job('second').id}").text
    assert sentence in page
    machines = world.root.sign_in().get(f"{world.server.url}/-/admin/runners/{first.runner['id']}").text
    assert "at most 256.0 MiB of memory for a job" in machines
    gates.open(word)
    run.end("success")
    assert "waits for job" not in run.trace("second"), "the server did not give it out before"


def test_a_job_that_has_too_little_is_tried_again_with_twice_as_much(own_server: Make, scratch: Path) -> None:
    world = world_with(own_server, scratch, job_memory_bytes=64 * MIB)
    run = world.ci(f"work: {{script: ['{takes(90)}']}}\n").end("success")
    assert tries(run, "work") == ["failed", "success"]
    assert run.job("work").attributes["resource_usage"]["limit_bytes"] == 128 * MIB
    assert "this try may have 128 MiB" in run.trace("work")
    # What it took is known now.
    again = run.project.push_ci(f"work: {{script: ['{takes(90)}', 'true']}}\n").end("success")
    assert tries(again, "work") == ["success"]


def test_a_job_that_fills_the_disk_is_ended_and_says_so(own_server: Make, scratch: Path) -> None:
    world = world_with(own_server, scratch, job_disk_bytes=32 * MIB)
    # What it writes after a while is what counts: the first look comes before.
    fill = "for part in $(seq 100); do head -c 8M /dev/urandom > part$part; sleep 0.1; done; echo survived"
    run = world.ci(f"""
fill: {{script: ['{fill}']}}
other: {{script: [head -c 8M /dev/zero > file, echo fine]}}
""").end("failed")
    assert run.statuses() == {"fill": "failed", "other": "success"}
    log = run.trace("fill")
    assert "wrote too much to the disk" in log and "of the 32 MiB" in log and "job_disk_bytes" in log
    assert "\nsurvived" not in log
    assert run.job("fill").failure_reason == "script_failure"


def test_jobs_are_ended_before_the_server_when_memory_runs_out(own_server: Make, scratch: Path) -> None:
    world = world_with(own_server, scratch)
    run = world.ci("work: {script: [cat /proc/self/oom_score_adj]}\n").end("success")
    pid = world.server.process.pid
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) <= 0
    assert "\n500" in run.trace("work")


def test_many_jobs_on_a_small_budget(own_server: Make, scratch: Path) -> None:
    """What all would take together is five times what there is. None is ended twice, and once their peaks are known, none."""
    world = world_with(own_server, scratch, job_request_bytes=64 * MIB)
    names = [f"job{number}" for number in range(20)]
    yaml = "\n".join(f"{name}: {{script: ['{takes(64)}']}}" for name in names)
    run = world.ci(yaml + "\n").end("success", deadline_secs=180)
    assert max(len(tries(run, name)) for name in names) <= 2
    again = run.project.push_ci(yaml + "\n# again\n").end("success", deadline_secs=180)
    assert [tries(again, name) for name in names] == [["success"]] * len(names)
