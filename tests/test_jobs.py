"""What happens to single jobs: played, retried, canceled, out of time, out of memory."""

import os

import pytest
from gitlab.exceptions import GitlabJobPlayError
from harness.gate import Gates
from harness.processes import processes
from harness.wait import wait_for
from harness.world import World, unique


def test_a_manual_job_waits_for_a_person(world: World) -> None:
    yaml = "stages: [build, deploy]\nbuild:\n  stage: build\n  script: echo\ndeploy:\n  stage: deploy\n  when: manual\n  script: echo deployed by $WHO\n"
    run = world.ci(yaml).end("success")
    deploy = run.job("deploy")
    assert deploy.status == "manual" and deploy.allow_failure
    with pytest.raises(GitlabJobPlayError) as refused:
        run.job("build").play()
    assert refused.value.response_code == 400
    played = world.root.post(f"/projects/{run.project.id}/jobs/{deploy.id}/play", json={"job_variables_attributes": [{"key": "WHO", "value": "Ada"}]})
    assert played.status_code in (200, 201), played.text
    run.wait_for_job("deploy", "success")
    assert "deployed by Ada" in run.trace("deploy")


def test_a_blocking_manual_job_holds_the_pipeline(world: World) -> None:
    yaml = "stages: [gate, deploy]\ngate:\n  stage: gate\n  when: manual\n  allow_failure: false\n  script: echo\ndeploy:\n  stage: deploy\n  script: echo\n"
    run = world.ci(yaml)
    wait_for("the pipeline to wait", lambda: run.pipeline.status == "manual", otherwise=run.describe)
    assert run.statuses() == {"gate": "manual", "deploy": "created"}
    run.job("gate").play()
    wait_for("the pipeline's success", lambda: run.pipeline.status == "success", otherwise=run.describe)


def test_a_job_is_retried_by_the_file_and_by_a_person(world: World, gates: Gates) -> None:
    word = unique("tries")
    yaml = f"""
flaky:
  retry: {{max: 2, when: script_failure}}
  script: ['{gates.tell_command(word, "try $CI_JOB_ID")}', exit 1]
fixed:
  stage: deploy
  script: echo fixed
"""
    run = world.ci(yaml).end("failed")
    assert gates.heard(word) == 3
    tries = run.pipeline.jobs.list(get_all=True, include_retried=True)
    assert sorted(it.name for it in tries) == ["fixed", "flaky", "flaky", "flaky"]
    run.job("flaky").retry()
    wait_for("the fourth try", lambda: gates.heard(word) >= 4)
    run.end("failed")
    again = world.root.post(f"/projects/{run.project.id}/jobs/{min(it.id for it in tries)}/retry")
    assert again.status_code == 403, "a try that has a successor is not retried"


def test_a_retried_pipeline_runs_what_failed(world: World, gates: Gates) -> None:
    word = unique("retry")
    yaml = f"""
good: {{script: '{gates.tell_command(word, "good")}'}}
bad: {{script: test -e /nowhere}}
after: {{stage: deploy, script: echo after}}
"""
    run = world.ci(yaml).end("failed")
    first = run.job("bad").id
    run.pipeline.retry()
    wait_for("another try", lambda: run.job("bad").id != first and run.job("bad").status == "failed")
    run.end("failed")
    assert gates.heard(word) == 1, "what succeeded is not run again"


def test_cancel_kills_the_whole_tree_and_runs_after_script(world: World, gates: Gates) -> None:
    word = unique("tree")
    marker = f"rave-tree-{os.getpid()}-{word}"
    yaml = f"""
work:
  script:
    - (exec -a {marker} sleep 300) &
    - setsid bash -c 'trap "" TERM; exec -a {marker} sleep 300' &
    - nohup bash -c '(exec -a {marker} sleep 300) & wait' &
    - {gates.wait_command(word)}
    - sleep 300
  after_script: ['{gates.tell_command(word, "after $CI_JOB_STATUS")}']
"""
    run = world.ci(yaml)
    gates.wait_for_arrival(word)
    wait_for("the processes", lambda: len(processes(marker)) >= 3)
    gates.open(word)
    run.job("work").cancel()
    assert gates.hear(word) == "after canceled"
    run.end("canceled")
    wait_for("the end of the processes", lambda: not processes(marker), 20, lambda: processes(marker))
    assert run.job("work").status == "canceled"


def test_a_pending_job_is_canceled_at_once(world: World) -> None:
    run = world.ci("work:\n  tags: [no-such-runner]\n  script: echo\n")
    run.wait_for_job("work", "pending")
    page = world.root.sign_in().get(run.job("work").web_url, timeout=10).text
    assert "Stuck: no runner that may take the job has the tag no-such-runner" in page
    run.pipeline.cancel()
    run.end("canceled")
    assert run.job("work").status == "canceled"


def test_a_job_that_takes_too_long_is_stopped(world: World) -> None:
    marker = f"rave-timeout-{os.getpid()}-{unique('t')}"
    run = world.ci(f"work:\n  timeout: 2 seconds\n  script: [echo begun, 'bash -c \"exec -a {marker} sleep 300\"']\n").end("failed")
    job = run.job("work")
    assert job.failure_reason == "job_execution_timeout"
    assert "begun" in run.trace("work") and "took longer than 2 seconds" in run.trace("work")
    wait_for("the end of the processes", lambda: not processes(marker), 20)


def test_after_script_runs_in_any_case_and_fails_nothing(world: World) -> None:
    yaml = """
good: {script: [export SEEN=1, echo main], after_script: ['echo "after $CI_JOB_STATUS ${SEEN:-unset}"', exit 9]}
bad: {script: exit 1, after_script: ['echo "after $CI_JOB_STATUS"']}
"""
    run = world.ci(yaml).end("failed")
    assert run.statuses() == {"good": "success", "bad": "failed"}
    assert "after success unset" in run.trace("good") and "after failed" in run.trace("bad")


def test_a_memory_hog_is_told_so(world: World) -> None:
    script = "python3 -c 'x = bytearray(512 << 20)'" if os.path.exists("/usr/bin/python3") else "tail -c 512M /dev/zero"
    run = world.ci(f'hog:\n  variables: {{RAVE_MEMORY: "64Mi"}}\n  script: ["{script}"]\n').end("failed")
    log = run.trace("hog")
    assert "ran out of memory" in log and "64 MiB" in log and "RAVE_MEMORY" in log
    assert run.job("hog").failure_reason == "script_failure"


def test_an_erased_job_has_neither_log_nor_artifacts(world: World) -> None:
    run = world.ci("work:\n  script: [echo secret > file]\n  artifacts: {paths: [file]}\n").end("success")
    run.job("work").erase()
    job = run.job("work")
    assert job.erased_at and job.trace() == b""
    assert world.root.get(f"/projects/{run.project.id}/jobs/{job.id}/artifacts").status_code == 404
