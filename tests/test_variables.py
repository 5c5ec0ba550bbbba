"""Variables of the instance, of groups and of projects: set by stock clients, given to jobs, shown to nobody else."""

import gitlab
import pytest
from gitlab.v4.objects import Group
from harness import secrets
from harness.gate import Gates
from harness.world import Account, Project, World, unique

MAINTAINER, DEVELOPER = 40, 30


@pytest.fixture
def group(world: World) -> Group:
    return world.root.gitlab.groups.create({"name": "Vars", "path": unique("vars")})


def project_in(world: World, group: Group) -> Project:
    return Project(world, world.root, world.root.gitlab.projects.create({"name": unique("app"), "namespace_id": group.id}))


def test_python_gitlab_keeps_variables(world: World, group: Group) -> None:
    project = project_in(world, group).gitlab
    for owner in (project, group, world.root.gitlab):
        key = unique("KEY").replace("-", "_")
        made = owner.variables.create({"key": key, "value": "one", "variable_type": "file", "protected": True})
        assert (made.value, made.variable_type, made.protected, made.masked, made.raw) == ("one", "file", True, False, False)
        made.value = "two"
        made.description = "what it is for"
        made.save()
        shown = owner.variables.get(key)
        assert (shown.value, shown.variable_type, shown.description) == ("two", "file", "what it is for")
        assert key in [it.key for it in owner.variables.list(get_all=True)]
        shown.delete()
        with pytest.raises(gitlab.GitlabGetError) as refused:
            owner.variables.get(key)
        assert refused.value.response_code == 404


def test_scopes_tell_variables_of_one_key_apart(world: World) -> None:
    variables = world.project().gitlab.variables
    variables.create({"key": "URL", "value": "any"})
    variables.create({"key": "URL", "value": "live", "environment_scope": "production"})
    with pytest.raises(gitlab.GitlabGetError) as refused:
        variables.get("URL")
    assert refused.value.response_code == 409
    assert variables.get("URL", filter={"environment_scope": "production"}).value == "live"
    variables.update("URL", {"value": "other", "filter": {"environment_scope": "*"}})
    variables.delete("URL", filter={"environment_scope": "production"})
    assert variables.get("URL").value == "other"


def test_what_cannot_be_masked_is_refused(world: World) -> None:
    variables = world.project().gitlab.variables
    with pytest.raises(gitlab.GitlabCreateError) as refused:
        variables.create({"key": "TOKEN", "value": "short", "masked": True})
    assert refused.value.response_code == 400 and "value" in str(refused.value)
    hidden = variables.create({"key": "TOKEN", "value": secrets.new_password(), "masked_and_hidden": True})
    assert (hidden.value, hidden.masked, hidden.hidden) == (None, True, True)
    assert variables.get("TOKEN").value is None


def test_jobs_get_their_variables_and_logs_hide_the_masked(world: World, group: Group, gates: Gates) -> None:
    project = project_in(world, group)
    masked, word = secrets.new_password(), unique("variables")
    group.variables.create({"key": "WHO", "value": "group"})
    group.variables.create({"key": "FROM_GROUP", "value": "yes"})
    project.gitlab.variables.create({"key": "WHO", "value": "project"})
    project.gitlab.variables.create({"key": "WHO", "value": "live", "environment_scope": "prod*"})
    project.gitlab.variables.create({"key": "MASKED", "value": masked, "masked": True, "raw": True})
    project.gitlab.variables.create({"key": "CERT", "value": "line one\nline $WHO\n", "variable_type": "file"})
    project.gitlab.variables.create({"key": "RAW", "value": "$WHO", "raw": True})
    yaml = f"""
switched:
  rules: [{{if: '$FROM_GROUP == "yes"'}}]
  script:
    - echo "the secret is $MASKED"
    - {gates.tell_command(word, "$WHO|$FROM_GROUP|$RAW|$(cat $CERT)")}
    - {gates.tell_command(word, "$MASKED")}
deploy:
  environment: production
  needs: [switched]
  script: {gates.tell_command(word, "$WHO")}
never:
  rules: [{{if: '$FROM_GROUP == "no"'}}]
  script: exit 1
"""
    run = project.push_ci(yaml).end("success")
    assert gates.hear(word) == "project|yes|$WHO|line one\nline project"
    assert gates.hear(word) == masked
    assert gates.hear(word) == "live"
    assert "the secret is [MASKED]" in run.trace("switched")
    stored = world.root.get(f"/projects/{project.id}/pipelines/{run.id}/variables").json()
    assert stored == [], "the project's variables do not become the pipeline's"


def test_protected_variables_stay_on_protected_branches(world: World, gates: Gates) -> None:
    project, word = world.project(), unique("protected")
    project.gitlab.variables.create({"key": "DEPLOY_KEY", "value": secrets.new_password(), "protected": True})
    project.push_ci(f"work:\n  script: {gates.tell_command(word, 'main ${#DEPLOY_KEY}')}\n").end("success")
    assert gates.hear(word) == "main 28"
    project.work.git("checkout", "--quiet", "-b", "topic")
    project.push_ci(f"work:\n  script: {gates.tell_command(word, 'topic ${#DEPLOY_KEY}')}\n").end("success")
    assert gates.hear(word) == "topic 0"


def test_only_those_who_manage_see_variables(world: World, group: Group) -> None:
    project = project_in(world, group)
    project.gitlab.variables.create({"key": "A", "value": "1"})
    developer, maintainer = project.member("developer", DEVELOPER), project.member("maintainer", MAINTAINER)

    def status(who: Account, path: str) -> int:
        return who.get(path).status_code

    assert status(maintainer, f"/projects/{project.id}/variables/A") == 200
    assert status(developer, f"/projects/{project.id}/variables/A") == 403
    assert status(maintainer, f"/groups/{group.id}/variables") in (403, 404)
    assert status(maintainer, "/admin/ci/variables") == 403


def test_values_are_sealed_at_rest(world: World) -> None:
    """The last test searches database files and dumps for every noted secret; here only the key is looked at."""
    key = world.server.data / "keys/sealing-key"
    assert key.stat().st_mode & 0o777 == 0o600
    secrets.note(key.read_text().strip())
