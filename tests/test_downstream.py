"""Pipelines that start other pipelines: children, also out of artifacts, other projects, and what becomes of those that wait."""

from collections.abc import Callable

import pytest

from harness.gate import Gates
from harness.server import Server
from harness.wait import wait_for
from harness.world import Project, Run, World, unique

CHILD = "unit:\n  script: echo child of $CI_UPSTREAM_PIPELINE_ID as $CI_PIPELINE_SOURCE\n"


def bridges(run: Run) -> dict[str, object]:
    return {it.name: it for it in run.pipeline.bridges.list(get_all=True)}


def downstream(run: Run, bridge: str, project: Project | None = None) -> Run:
    """Waits for the pipeline that a bridge makes."""

    def made() -> dict | None:
        return bridges(run)[bridge].downstream_pipeline

    found = wait_for(f"the pipeline of {bridge}", made, otherwise=run.describe)
    return Run(project or run.project, found["id"])


def test_a_child_runs_and_is_shown_with_its_parent(world: World) -> None:
    yaml = "call:\n  trigger: {include: child.yml, strategy: depend}\nafter:\n  stage: deploy\n  script: echo after\n"
    run = world.ci(yaml, {"child.yml": CHILD}).end("success")
    child = downstream(run, "call")
    assert (child.pipeline.status, child.pipeline.source, child.pipeline.sha) == ("success", "parent_pipeline", run.pipeline.sha)
    assert f"child of {run.id} as parent_pipeline" in child.trace("unit")
    assert list(run.jobs()) == ["after"], "bridges are listed apart"
    assert run.job("after").started_at >= child.job("unit").finished_at
    listed = [it.id for it in run.project.pipelines()]
    assert listed == [run.id]
    children = run.project.gitlab.pipelines.list(source="parent_pipeline", get_all=True)
    assert [it.id for it in children] == [child.id]

    session = world.root.sign_in()
    page = session.get(f"{run.project.url}/-/pipelines/{run.id}", timeout=30).text
    assert f"/-/pipelines/{child.id}" in page and "Downstream" in page
    page = session.get(f"{run.project.url}/-/pipelines/{child.id}", timeout=30).text
    assert f"/-/pipelines/{run.id}" in page and "Parent pipeline" in page


def test_a_child_out_of_an_artifact(world: World) -> None:
    yaml = """
make:
  stage: build
  script:
    - |
      printf 'dynamic:\\n  script: echo made by a job\\n' > made.yml
  artifacts: {paths: [made.yml]}
call:
  stage: test
  trigger:
    include: [{artifact: made.yml, job: make}]
    strategy: depend
"""
    run = world.ci(yaml).end("success")
    assert "made by a job" in downstream(run, "call").trace("dynamic")


def test_another_project_runs_with_the_rights_of_who_asked(world: World) -> None:
    library = world.project()
    library.push({".gitlab-ci.yml": "unit:\n  script: echo $WHAT for $GITLAB_USER_LOGIN\n"}, "-o", "ci.skip")
    yaml = f"call:\n  variables: {{WHAT: built-$CI_COMMIT_BRANCH}}\n  trigger: {{project: {library.path}, strategy: depend}}\n"
    run = world.ci(yaml).end("success")
    other = downstream(run, "call", library)
    assert other.pipeline.source == "pipeline"
    assert "built-main for root" in other.trace("unit")

    stranger = world.account("stranger")
    refused = world.ci(yaml, owner=stranger).end("failed")
    assert bridges(refused)["call"].failure_reason == "downstream_bridge_project_not_found"
    reader = library.member("reader", 20)
    refused = world.ci(yaml, owner=reader).end("failed")
    assert bridges(refused)["call"].failure_reason == "insufficient_bridge_permissions"
    # The default branch is protected: a developer may not change it, and so runs nothing on it.
    refused = world.ci(yaml, owner=library.member("developer", 30)).end("failed")
    assert bridges(refused)["call"].failure_reason == "insufficient_bridge_permissions"
    world.ci(yaml, owner=library.member("maintainer", 40)).end("success")


def test_a_mirror_follows_what_is_done_to_the_child(world: World) -> None:
    child = "unit:\n  when: manual\n  allow_failure: false\n  script: echo unit\n"
    run = world.ci("call:\n  trigger: {include: child.yml, strategy: mirror}\n", {"child.yml": child})
    below = downstream(run, "call")
    wait_for("the bridge to wait", lambda: bridges(run)["call"].status == "manual", otherwise=run.describe)
    assert run.pipeline.status == "manual"
    below.job("unit").play()
    run.end("success")


def test_retries_go_up_and_down(world: World, gates: Gates) -> None:
    word = unique("retry")
    child = f"unit:\n  script: {gates.wait_command(word)}\n"
    run = world.ci("call:\n  trigger: {include: child.yml, strategy: depend}\n", {"child.yml": child})
    first = downstream(run, "call")
    gates.wait_for_arrival(word)
    first.pipeline.cancel()
    run.end("canceled")
    gates.open(word)
    first.pipeline.retry()
    wait_for("the parent to go on with its child", lambda: run.pipeline.status == "success", otherwise=run.describe)
    assert first.pipeline.status == "success"

    call = bridges(run)["call"]
    again = world.root.post(f"/projects/{run.project.id}/jobs/{call.id}/retry")
    assert again.status_code == 201, again.text
    second = wait_for("another child", lambda: (bridges(run)["call"].downstream_pipeline or {}).get("id") not in (None, first.id))
    assert second
    run.end("success")


def test_canceling_a_parent_stops_its_children(world: World, gates: Gates) -> None:
    word = unique("cancel")
    run = world.ci("call:\n  trigger: {include: child.yml}\nhold:\n  script: " + gates.wait_command(word) + "\n", {"child.yml": f"unit:\n  script: {gates.wait_command(word)}\n"})
    child = downstream(run, "call")
    child.wait_for_job("unit", "running")
    run.pipeline.cancel()
    run.end("canceled")
    child.end("canceled")
    gates.open(word)


def test_artifacts_of_the_parent_and_of_other_projects(world: World) -> None:
    library = world.project()
    library.push_ci("lib:\n  script: echo from the library > lib.txt\n  artifacts: {paths: [lib.txt]}\n").end("success")
    yaml = f"""
make:
  stage: build
  script: echo from the parent > made.txt
  artifacts: {{paths: [made.txt]}}
call:
  stage: test
  variables: {{PARENT: $CI_PIPELINE_ID}}
  trigger: {{include: child.yml, strategy: depend}}
"""
    child = f"""
use:
  needs: [{{pipeline: $PARENT, job: make}}, {{project: {library.path}, ref: main, job: lib, artifacts: true}}]
  script: cat made.txt lib.txt
"""
    run = world.ci(yaml, {"child.yml": child}).end("success")
    log = downstream(run, "call").trace("use")
    assert "from the parent" in log and "from the library" in log


def test_variables_of_a_job_reach_those_after_it(world: World) -> None:
    yaml = """
make:
  stage: build
  script: echo "VERSION=1.2.3" > out.env
  artifacts: {reports: {dotenv: out.env}}
use:
  stage: test
  environment: {name: review/x, url: "https://$VERSION.example.org"}
  script: echo "$VERSION at $CI_ENVIRONMENT_URL in $CI_ENVIRONMENT_SLUG"
call:
  stage: test
  variables: {GIVEN: v$VERSION}
  trigger: {include: child.yml, strategy: depend}
"""
    run = world.ci(yaml, {"child.yml": "unit:\n  script: echo got $GIVEN\n"}).end("success")
    assert "1.2.3 at https://1.2.3.example.org in review-x-" in run.trace("use")
    assert "got v1.2.3" in downstream(run, "call").trace("unit")


def test_a_report_that_is_none_fails_its_job(world: World) -> None:
    yaml = "make:\n  script: echo 'no report' > out.env\n  artifacts: {reports: {dotenv: out.env}}\n"
    run = world.ci(yaml).end("failed")
    assert "Invalid Format" in run.trace("make")


@pytest.fixture
def fragile(own_server: Callable[..., Server], scratch: object) -> World:
    """A server that the test may kill."""
    return World(own_server().start(), scratch)


def test_a_killed_server_makes_no_child_twice(fragile: World) -> None:
    """Each round kills the server somewhere between a push and its children's ends."""
    yaml = "".join(f"call-{it}:\n  trigger: {{include: child.yml, strategy: depend}}\n" for it in range(5))
    project = fragile.project()
    runs = []
    for round in range(3):
        project.push({".gitlab-ci.yml": yaml, "child.yml": CHILD, "round": str(round)}, message=f"Round {round}")
        runs.append(project.run(project.work.head()))
        wait_for("the first child", lambda: any(it.downstream_pipeline for it in runs[-1].pipeline.bridges.list(get_all=True)))
        fragile.server.kill()
        fragile.server.restart()
        runs[-1].end("success", 120)
    made = [it["id"] for run in runs for it in (bridge.downstream_pipeline for bridge in bridges(run).values())]
    children = project.gitlab.pipelines.list(source="parent_pipeline", get_all=True)
    assert len(made) == len(set(made)) == 15 and sorted(it.id for it in children) == sorted(made)
