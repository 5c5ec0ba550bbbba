"""Schedules with python-gitlab: kept, played, and told what keeps them from running. The clock is a matter of the program's own tests."""

import gitlab
import pytest
from harness.gate import Gates
from harness.wait import wait_for
from harness.world import Project, Run, World, unique

DEVELOPER, MAINTAINER = 30, 40
FILE = "work:\n  script: echo done\n"


def play(project: Project, schedule_id: int) -> None:
    """Plays the schedule by an object of its own, whose attributes python-gitlab replaces by the answer."""
    project.gitlab.pipelineschedules.get(schedule_id).play()


def last_run(project: Project, schedule_id: int) -> Run:
    """Waits for the schedule's next pipeline."""

    def last() -> dict | None:
        return project.gitlab.pipelineschedules.get(schedule_id).last_pipeline

    return Run(project, wait_for("the schedule's pipeline", last)["id"])


def test_python_gitlab_keeps_schedules(world: World) -> None:
    project = world.project().gitlab
    made = project.pipelineschedules.create({"description": "Nightly", "ref": "main", "cron": "0 4 * * *", "cron_timezone": "Europe/Berlin"})
    assert (made.active, made.cron_timezone, made.owner["username"]) == (True, "Europe/Berlin", "root")
    assert made.next_run_at.endswith(":00:00.000Z") and made.next_run_at[11:13] in ("02", "03"), "four o'clock in Berlin"
    made.description, made.active = "Weekly", False
    made.cron = "@weekly"
    made.save()
    made.variables.create({"key": "LEVEL", "value": "1"})
    made.variables.update("LEVEL", {"value": "2"})
    shown = project.pipelineschedules.get(made.id)
    assert (shown.description, shown.active, shown.cron, shown.attributes["variables"][0]["value"]) == ("Weekly", False, "@weekly", "2")
    shown.variables.delete("LEVEL")
    assert [it.id for it in project.pipelineschedules.list(get_all=True)] == [made.id]
    for wrong in ({"cron": "61 * * * *"}, {"cron_timezone": "Nowhere"}):
        with pytest.raises(gitlab.GitlabCreateError) as refused:
            project.pipelineschedules.create({"description": "x", "ref": "main", "cron": "@daily", **wrong})
        assert refused.value.response_code == 400 and "is invalid syntax" in str(refused.value)
    shown.delete()
    assert project.pipelineschedules.list(get_all=True) == []


def test_a_schedule_that_is_played_makes_a_pipeline(world: World, gates: Gates) -> None:
    project, word = world.project(), unique("schedule")
    yaml = f"""
work:
  rules: [{{if: '$CI_PIPELINE_SOURCE == "schedule"'}}]
  script: {gates.tell_command(word, "$CI_PIPELINE_SCHEDULE_DESCRIPTION $WHAT")}
"""
    project.push({".gitlab-ci.yml": yaml})
    schedule = project.gitlab.pipelineschedules.create({"description": "Night shift", "ref": "main", "cron": "0 0 1 1 *"})
    schedule.variables.create({"key": "WHAT", "value": "cleans"})
    play(project, schedule.id)
    run = last_run(project, schedule.id).end("success")
    assert run.pipeline.source == "schedule" and gates.hear(word) == "Night shift cleans"
    assert [it.id for it in schedule.pipelines.list(get_all=True)] == [run.id]


def test_what_keeps_a_schedule_from_running_is_told(world: World) -> None:
    project = world.project()
    project.push({".gitlab-ci.yml": FILE})
    schedule = project.gitlab.pipelineschedules.create({"description": "x", "ref": "gone", "cron": "@daily"})
    play(project, schedule.id)
    told = wait_for("the problem", lambda: project.gitlab.pipelineschedules.get(schedule.id).problem)
    assert told == "Reference not found"


def test_a_schedule_is_its_owners(world: World) -> None:
    project = world.project()
    project.push({".gitlab-ci.yml": FILE})
    developer, maintainer = project.member("developer", DEVELOPER), project.member("maintainer", MAINTAINER)
    made = project.as_(developer).pipelineschedules.create({"description": "x", "ref": "main", "cron": "@daily"})
    made.variables.create({"key": "A", "value": "1"})
    theirs = project.as_(maintainer).pipelineschedules.get(made.id)
    theirs.ref = "other"
    with pytest.raises(gitlab.GitlabUpdateError) as refused:
        theirs.save()
    assert refused.value.response_code == 403
    theirs.take_ownership()
    theirs.ref = "main"
    theirs.save()
    seen = project.as_(developer).pipelineschedules.get(made.id)
    assert seen.owner["username"] == maintainer.username and "variables" not in seen.attributes


def test_every_minute_comes_by_itself(world: World) -> None:
    """The only test that waits for a real clock: at most a minute."""
    project = world.project()
    project.push({".gitlab-ci.yml": FILE})
    schedule = project.gitlab.pipelineschedules.create({"description": "Often", "ref": "main", "cron": "* * * * *"})
    wait_for("the clock", lambda: project.gitlab.pipelineschedules.get(schedule.id).last_pipeline, 90)
    schedule.active = False
    schedule.save()
