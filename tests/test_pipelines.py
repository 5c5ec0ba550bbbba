"""The spine: a push becomes a pipeline, and its jobs run in their order."""

import json

from harness.gate import Gates
from harness.wait import wait_for
from harness.world import Project, World, unique

ONE_JOB = "work:\n  script: echo done\n"


def test_a_push_becomes_a_finished_pipeline(world: World) -> None:
    run = world.ci("stages: [lint, build]\nbuild:\n  stage: build\n  script: echo built\nlint:\n  stage: lint\n  script: echo linted\n")
    assert run.pushed and f"/-/pipelines/{run.id}" in run.pushed.err, "the pusher gets the pipeline's address"
    run.end("success")
    pipeline = run.pipeline
    assert (pipeline.ref, pipeline.sha, pipeline.source, pipeline.user["username"]) == ("main", run.project.work.head(), "push", "root")
    assert pipeline.started_at and pipeline.finished_at and pipeline.detailed_status["text"] in ("passed", "Passed")
    lint, build = run.job("lint"), run.job("build")
    assert lint.finished_at <= build.started_at and lint.duration is not None
    log = run.trace("build")
    assert "built" in log and "$ echo built" in log and log.rstrip().endswith("Job succeeded")


def test_a_failing_script_fails_the_pipeline_and_skips_what_follows(world: World) -> None:
    run = world.ci("stages: [build, test]\nbuild:\n  stage: build\n  script: [echo before, exit 3, echo after]\ntest:\n  stage: test\n  script: echo never\n")
    run.end("failed")
    build = run.job("build")
    assert (build.status, build.failure_reason, run.job("test").status) == ("failed", "script_failure", "skipped")
    log = run.trace("build")
    assert "before" in log and "\nafter" not in log and "ERROR: Job failed: exit status 3" in log


def test_needs_order_jobs_regardless_of_stages(world: World, gates: Gates) -> None:
    word = unique("dag")
    yaml = f"""
stages: [build, test, deploy]
slow:
  stage: build
  script: {gates.wait_command(word)}
quick:
  stage: build
  script: echo quick
early:
  stage: deploy
  needs: [quick]
  script: echo early
late:
  stage: test
  script: echo late
"""
    run = world.ci(yaml)
    run.wait_for_job("early", "success")
    assert run.statuses() == {"slow": "running", "quick": "success", "early": "success", "late": "created"}
    gates.open(word)
    run.end("success")
    jobs = run.jobs()
    assert jobs["early"].started_at >= jobs["quick"].finished_at and jobs["late"].started_at >= jobs["slow"].finished_at


def test_jobs_of_one_stage_run_at_the_same_time(world: World, gates: Gates) -> None:
    """Each waits until the other has come, so they pass only together."""
    words = [unique("pair"), unique("pair")]
    run = world.ci("".join(f"{name}:\n  script: {gates.wait_command(name)}\n" for name in words))
    for word in words:
        gates.wait_for_arrival(word)
    for word in words:
        gates.open(word)
    run.end("success")


def test_tags_have_pipelines_too(world: World) -> None:
    project = world.project()
    project.work.commit({".gitlab-ci.yml": 'work:\n  script: test "$CI_COMMIT_TAG" = v1.0 -a -z "$CI_COMMIT_BRANCH"\n'})
    project.work.git("tag", "v1.0")
    project.work.push("origin", "v1.0")
    run = project.run(project.work.head()).end("success")
    assert (run.pipeline.ref, run.pipeline.tag, run.job("work").tag) == ("v1.0", True, True)


def test_rules_choose_jobs(world: World) -> None:
    yaml = """
stages: [one]
default: {tags: []}
.hidden: {stage: one, script: echo $CI_JOB_NAME}
main: {extends: .hidden, rules: [{if: $CI_COMMIT_BRANCH == "main"}]}
not-main: {extends: .hidden, rules: [{if: $CI_COMMIT_BRANCH != "main"}]}
matched: {extends: .hidden, rules: [{if: $CI_COMMIT_TITLE =~ /^commit/i, variables: {FOUND: "yes"}}], script: test "$FOUND" = yes}
by-hand: {extends: .hidden, rules: [{if: $CI_COMMIT_BRANCH, when: manual, allow_failure: true}]}
never: {extends: .hidden, rules: [{when: never}]}
changed: {extends: .hidden, rules: [{changes: ["*.txt"]}]}
exists: {extends: .hidden, rules: [{exists: [Dockerfile]}]}
"""
    run = world.ci(yaml, {"a.txt": "a"})
    run.end("success")
    assert run.statuses() == {"main": "success", "matched": "success", "by-hand": "manual", "changed": "success"}


def test_failures_may_be_allowed(world: World) -> None:
    yaml = """
stages: [one, two]
any: {stage: one, script: exit 1, allow_failure: true}
code: {stage: one, script: exit 42, allow_failure: {exit_codes: [42]}}
next: {stage: two, script: echo next}
on-failure: {stage: two, script: echo cleanup, when: on_failure}
"""
    run = world.ci(yaml).end("success")
    assert run.statuses() == {"any": "failed", "code": "failed", "next": "success", "on-failure": "skipped"}


def test_on_failure_and_always_follow_a_failure(world: World) -> None:
    yaml = """
stages: [one, two]
bad: {stage: one, script: exit 1}
on-failure: {stage: two, script: echo cleanup, when: on_failure}
always: {stage: two, script: echo always, when: always}
usual: {stage: two, script: echo usual}
"""
    run = world.ci(yaml).end("failed")
    assert run.statuses() == {"bad": "failed", "on-failure": "success", "always": "success", "usual": "skipped"}


def test_pushes_that_ask_for_no_pipeline_get_none(project: Project) -> None:
    project.push({".gitlab-ci.yml": ONE_JOB}, message="Docs [skip ci]")
    project.push({"a": "1"}, "-o", "ci.skip", message="Option")
    run = project.push_ci(ONE_JOB + "# run\n").end("success")
    skipped = [it for it in project.pipelines() if it.id != run.id]
    assert all(it.status == "skipped" for it in skipped), [(it.id, it.status) for it in skipped]
    assert not any(it.jobs.list(get_all=True) for it in skipped if it.status != "skipped")
    assert run.statuses() == {"work": "success"}


def test_a_push_without_the_file_makes_no_pipeline(project: Project) -> None:
    done = project.push({"README.md": "hello\n"})
    assert "pipelines/" not in done.err
    run = project.push_ci(ONE_JOB).end("success")
    assert [it.id for it in project.pipelines()] == [run.id]


def test_workflow_rules_decide_about_pipelines(project: Project) -> None:
    yaml = "workflow:\n  name: Build of $CI_COMMIT_BRANCH\n  rules: [{if: $CI_COMMIT_BRANCH == 'main'}]\n" + ONE_JOB
    run = project.push_ci(yaml).end("success")
    assert run.pipeline.name == "Build of main"
    project.work.push("origin", "HEAD:refs/heads/other")
    project.push({"b": "1"}, message="More")
    wait_for("the next pipeline", lambda: len(project.pipelines()) >= 2)
    assert {it.ref for it in project.pipelines()} == {"main"}


def test_pipelines_are_made_by_the_api(project: Project) -> None:
    project.push({".gitlab-ci.yml": 'work:\n  rules: [{if: $CI_PIPELINE_SOURCE == "api"}]\n  script: test "$WHO" = Ada\n'}, "-o", "ci.skip")
    made = project.gitlab.pipelines.create({"ref": "main", "variables": [{"key": "WHO", "value": "Ada"}]})
    assert made.source == "api"
    wait_for("the pipeline's success", lambda: project.gitlab.pipelines.get(made.id).status == "success")
    bad = project.owner.post(f"/projects/{project.id}/pipeline", json={"ref": "absent"})
    assert bad.status_code == 400 and bad.json()["message"]["base"]


def test_a_job_sees_its_commit_even_when_the_branch_moved_on(world: World, project: Project, gates: Gates) -> None:
    word = unique("moved")
    yaml = f"stages: [wait, read]\nwait:\n  stage: wait\n  script: {gates.wait_command(word)}\nread:\n  stage: read\n  script: cat state\n"
    first = project.push_ci(yaml, {"state": "first\n"})
    gates.wait_for_arrival(word)
    project.work.git("checkout", "--quiet", "-b", "topic", "HEAD~0")
    project.push({"state": "second\n"}, "-o", "ci.skip")
    project.work.git("push", "origin", ":topic")
    project.work.git("checkout", "--quiet", "main")
    project.push({"state": "third\n"}, "-o", "ci.skip")
    gates.open(word)
    first.end("success")
    assert "\nfirst" in first.trace("read").replace("\r", "")


def test_a_tagged_job_runs_on_a_runner_with_its_tags_only(world: World, project: Project) -> None:
    run = project.push_ci("work:\n  tags: [special]\n  script: echo\nplain:\n  script: echo\n")
    run.wait_for_job("plain", "success")
    assert run.job("work").status == "pending"
    run.pipeline.cancel()
    run.end("canceled")


def test_pipelines_events_and_jobs_agree(world: World) -> None:
    """What lists say is what single answers say."""
    run = world.ci(ONE_JOB).end("success")
    listed = run.project.pipelines()[0].attributes
    single = run.pipeline.attributes
    assert {key: single[key] for key in listed} == listed, json.dumps([listed, single], indent=1, default=str)
    jobs = run.project.gitlab.jobs.list(get_all=True)
    assert [it.id for it in jobs] == [run.job("work").id] and jobs[0].pipeline["id"] == run.id


def test_of_many_branches_in_one_push_the_first_few_get_pipelines(world: World) -> None:
    project = world.project()
    project.work.commit({".gitlab-ci.yml": ONE_JOB})
    branches = [f"HEAD:refs/heads/branch-{number}" for number in range(7)]
    done = project.work.push("origin", *branches)
    assert "Only the first 4 branches and tags of a push get pipelines" in done.err
    assert sorted(it.ref for it in project.pipelines()) == [f"branch-{number}" for number in range(4)]


def test_a_protected_branch_is_run_by_those_who_may_change_it(world: World) -> None:
    run = world.ci("job: {script: [echo]}\n").end("success")
    project = run.project
    developer, maintainer = project.member("dev", 30), project.member("main", 40)
    project.work.git("push", "-q", "origin", "HEAD:refs/heads/topic")
    refused = developer.post(f"/projects/{project.id}/pipeline", json={"ref": "main"})
    assert refused.status_code == 400 and "sufficient permission to run a pipeline on 'main'" in refused.text
    for account, ref in ((developer, "topic"), (maintainer, "main")):
        made = account.post(f"/projects/{project.id}/pipeline", json={"ref": ref})
        assert made.status_code == 201, made.text
