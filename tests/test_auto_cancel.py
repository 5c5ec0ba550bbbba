"""Pipelines that a newer commit makes redundant, and jobs that a failed one makes pointless."""

from harness.gate import Gates
from harness.wait import wait_for
from harness.world import World, unique


def test_a_newer_commit_cancels_what_may_be_interrupted(world: World, gates: Gates) -> None:
    word = unique("old")
    yaml = f"work:\n  interruptible: true\n  script: {gates.wait_command(word)}\n"
    old = world.ci(yaml)
    gates.wait_for_arrival(word)
    new = old.project.push_ci("work:\n  interruptible: true\n  script: echo new\n")
    old.end("canceled")
    new.end("success")
    page = world.root.sign_in().get(f"{old.project.url}/-/pipelines/{old.id}", timeout=30).text
    assert f"/-/pipelines/{new.id}" in page, "the page says why"
    gates.open(word)


def test_what_must_not_be_interrupted_is_not(world: World, gates: Gates) -> None:
    word = unique("release")
    old = world.ci(f"work:\n  script: {gates.wait_command(word)}\n")
    gates.wait_for_arrival(word)
    old.project.push_ci("work:\n  script: echo new\n").end("success")
    assert old.pipeline.status == "running"
    gates.open(word)
    old.end("success")


def test_the_workflow_and_the_project_decide(world: World, gates: Gates) -> None:
    word = unique("parts")
    yaml = f"""
workflow: {{auto_cancel: {{on_new_commit: interruptible}}}}
keep: {{script: "{gates.wait_command(word)}"}}
drop: {{interruptible: true, script: "{gates.wait_command(word)}"}}
"""
    old = world.ci(yaml)
    wait_for("both jobs", lambda: set(old.statuses().values()) == {"running"}, otherwise=old.describe)
    old.project.push_ci("work:\n  script: echo new\n").end("success")
    old.wait_for_job("drop", "canceled")
    assert old.job("keep").status == "running"
    gates.open(word)
    old.end("canceled")

    project = old.project
    assert project.gitlab.auto_cancel_pending_pipelines == "enabled"
    project.gitlab.auto_cancel_pending_pipelines = "disabled"
    project.gitlab.save()
    assert world.root.get(f"/projects/{project.id}").json()["auto_cancel_pending_pipelines"] == "disabled"
    word = unique("off")
    old = project.push_ci(f"work:\n  interruptible: true\n  script: {gates.wait_command(word)}\n")
    gates.wait_for_arrival(word)
    project.push_ci("work:\n  script: echo new\n").end("success")
    assert old.pipeline.status == "running"
    gates.open(word)
    old.end("success")


def test_a_failed_job_cancels_the_rest(world: World, gates: Gates) -> None:
    word = unique("rest")
    yaml = f"""
workflow: {{auto_cancel: {{on_job_failure: all}}}}
bad: {{script: ["{gates.wait_command(word)}", exit 1]}}
long: {{script: "{gates.wait_command(word + '-long')}"}}
"""
    run = world.ci(yaml)
    gates.wait_for_arrival(word + "-long")
    gates.open(word)
    run.end("failed")
    assert run.statuses() == {"bad": "failed", "long": "canceled"}
    gates.open(word + "-long")
