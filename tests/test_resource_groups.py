"""Resource groups: of the jobs that share one, one runs at a time."""

from collections.abc import Callable

from harness.gate import Gates
from harness.server import Server
from harness.wait import wait_for
from harness.world import Run, World, unique


def two(world: World, gates: Gates) -> tuple[Run, Run, str]:
    """Two pipelines whose jobs share a resource; the first job has it and waits at a gate."""
    word = unique("deploy")
    yaml = f"deploy:\n  resource_group: production\n  script: {gates.wait_command(word)}\n"
    first = world.ci(yaml)
    gates.wait_for_arrival(word)
    second = first.project.push_ci(yaml, {"more": "1"})
    second.wait_for_job("deploy", "waiting_for_resource")
    return first, second, word


def test_one_job_at_a_time(world: World, gates: Gates) -> None:
    first, second, word = two(world, gates)
    project = first.project.gitlab
    group = project.resource_groups.get("production")
    assert (group.key, group.process_mode) == ("production", "unordered")
    assert [it.key for it in project.resource_groups.list(get_all=True)] == ["production"]
    assert [it.id for it in group.upcoming_jobs.list(get_all=True)] == [second.job("deploy").id]
    group.process_mode = "oldest_first"
    group.save()
    assert project.resource_groups.get("production").process_mode == "oldest_first"

    page = world.root.sign_in().get(f"{first.project.url}/-/jobs/{second.job('deploy').id}", timeout=30).text
    assert "production" in page and f"/-/jobs/{first.job('deploy').id}" in page, "the page says who has it"

    gates.open(word)
    first.end("success")
    second.end("success")
    assert second.job("deploy").started_at >= first.job("deploy").finished_at


def test_a_canceled_job_gives_it_back(world: World, gates: Gates) -> None:
    first, second, word = two(world, gates)
    first.job("deploy").cancel()
    second.wait_for_job("deploy", "pending", "running", "success")
    gates.open(word)
    second.end("success")


def test_a_killed_server_gives_it_on(own_server: Callable[..., Server], scratch: object, gates: Gates) -> None:
    world = World(own_server().start(), scratch)
    first, second, word = two(world, gates)
    world.server.kill()
    gates.open(word)
    world.server.restart()
    second.end("success", 120)
    wait_for("the resource to be free", lambda: world.root.get(f"/projects/{first.project.id}/resource_groups/production/current_job").status_code == 404)
