"""python-gitlab against the API: it lists, reads, changes and understands errors as it does with GitLab."""

import datetime

import gitlab
import pytest
import requests
from gitlab.exceptions import (
    GitlabAuthenticationError,
    GitlabCreateError,
    GitlabDeleteError,
    GitlabError,
    GitlabGetError,
)
from harness import secrets
from harness.gate import Gates
from harness.world import Project, World, unique

YAML = "work:\n  script: [echo hello, echo file > file.txt]\n  artifacts: {paths: [file.txt]}\n"


def test_who_am_i(world: World) -> None:
    gl = world.root.gitlab
    gl.auth()
    assert gl.user and (gl.user.id, gl.user.username, gl.user.is_admin, gl.user.state) == (1, "root", True, "active")
    version, revision = gl.version()
    assert version[0].isdigit() and revision
    for credentials in ({"headers": {"Authorization": f"Bearer {world.root.token}"}}, {"params": {"private_token": world.root.token}}):
        answer = requests.get(f"{world.server.url}/api/v4/user", timeout=10, **credentials)
        assert answer.json()["username"] == "root"


def test_a_wrong_token_is_an_authentication_error(world: World) -> None:
    wrong = gitlab.Gitlab(world.server.url, private_token=secrets.note("glpat-" + "x" * 32))
    with pytest.raises(GitlabAuthenticationError) as error:
        wrong.auth()
    assert error.value.response_code == 401
    expired = world.account("expired")
    tomorrow = (datetime.date.today() + datetime.timedelta(days=1)).isoformat()
    token = world.token(expired, ("read_api",), expires_at=tomorrow)
    assert gitlab.Gitlab(world.server.url, private_token=token).http_get("/user")
    past = world.root.post(f"/users/{expired.id}/personal_access_tokens", json={"name": "x", "scopes": ["api"], "expires_at": "2020-01-01"})
    assert past.status_code == 400


def test_projects(world: World) -> None:
    owner = world.account("owner")
    gl = owner.gitlab
    made = gl.projects.create({"name": "My Project", "description": "What <it> does", "visibility": "internal"})
    assert (made.path, made.path_with_namespace, made.visibility) == ("my-project", f"{owner.username}/my-project", "internal")
    assert made.web_url == f"{world.server.url}/{made.path_with_namespace}" and made.http_url_to_repo == f"{made.web_url}.git"
    assert made.default_branch is None and made.empty_repo is True and made.creator_id == owner.id and made.namespace["full_path"] == owner.username
    by_path = gl.projects.get(made.path_with_namespace)
    assert by_path.id == made.id and by_path.permissions["project_access"]["access_level"] in (40, 50)
    by_path.description = "Another"
    by_path.visibility = "private"
    by_path.save()
    assert (gl.projects.get(made.id).description, gl.projects.get(made.id).visibility) == ("Another", "private")
    assert [it.id for it in gl.projects.list(owned=True, get_all=True)] == [made.id]
    assert [it.id for it in gl.projects.list(membership=True, search="my-proj", simple=True, get_all=True)] == [made.id]
    with pytest.raises(GitlabCreateError) as taken:
        gl.projects.create({"name": "My Project"})
    assert taken.value.response_code == 400 and "taken" in str(taken.value)
    with pytest.raises(GitlabCreateError):
        gl.projects.create({"name": "x", "path": "../etc"})
    made.delete()
    with pytest.raises(GitlabGetError) as gone:
        gl.projects.get(made.id)
    assert gone.value.response_code == 404 and "404 Project Not Found" in str(gone.value)


def test_parameters_come_by_query_form_and_json(world: World) -> None:
    root = world.root
    for number, way in enumerate(("params", "data", "json")):
        name = unique("way")
        answer = root.post("/projects", **{way: {"name": name, "visibility": "public"}})
        assert answer.status_code == 201 and answer.json()["visibility"] == "public", f"{number} {way}: {answer.text}"
    assert root.post("/projects", json={}).status_code == 400
    assert root.post("/projects", data=b"{not json", headers={"Content-Type": "application/json"}).status_code == 400


def test_pagination_is_walked_by_links(world: World) -> None:
    owner = world.account("many")
    names = {owner.gitlab.projects.create({"name": unique("page")}).path for _ in range(7)}
    listed = owner.gitlab.projects.list(owned=True, iterator=True, per_page=3)
    assert (listed.total, listed.total_pages, listed.per_page, listed.next_page, listed.prev_page) == (7, 3, 3, 2, None)
    assert {it.path for it in listed} == names
    first = owner.get("/projects", params={"owned": "true", "per_page": 3, "page": 1})
    assert first.headers["X-Prev-Page"] == "" and first.headers["X-Next-Page"] == "2"
    links = requests.utils.parse_header_links(first.headers["Link"])
    assert {it["rel"] for it in links} == {"next", "first", "last"} and all(it["url"].startswith(world.server.url) for it in links)
    assert "owned=true" in links[0]["url"]
    last = owner.get("/projects", params={"owned": "true", "per_page": 3, "page": 3})
    assert len(last.json()) == 1 and last.headers["X-Next-Page"] == ""
    assert owner.get("/projects", params={"per_page": 1000}).headers["X-Per-Page"] == "100"
    assert owner.get("/projects", params={"page": "x"}).status_code == 400


def test_repository(project: Project) -> None:
    project.push({"README.md": "# Hello\n", "src/main.c": "int main;\n", "space dir/ä.txt": "ü\n"}, message="First\n\nWith a body")
    first = project.work.head()
    project.push({"src/main.c": "int main(void);\n"}, message="Second")
    second = project.work.head()
    gl = project.gitlab
    project.work.git("tag", "--annotate", "--message", "Version one", "v1.0", first)
    project.work.push("origin", "v1.0")

    commits = gl.commits.list(get_all=True)
    assert [(it.id, it.title, it.parent_ids) for it in commits] == [(second, "Second", [first]), (first, "First", [])]
    one = gl.commits.get(first)
    assert (one.message.strip(), one.author_name, one.author_email, one.short_id) == ("First\n\nWith a body", "Ada", "ada@example.org", first[:8])
    assert one.web_url == f"{project.url}/-/commit/{first}"
    assert gl.commits.get("v1.0").id == first and gl.commits.get("main").id == second
    assert [it.id for it in gl.commits.list(query_parameters={"path": "README.md"}, get_all=True)] == [first]
    diff = gl.commits.get(second).diff(get_all=True)
    assert [(it["old_path"], it["new_path"], it["new_file"]) for it in diff] == [("src/main.c", "src/main.c", False)]
    assert "-int main;\n+int main(void);" in diff[0]["diff"]

    file = gl.files.get("src/main.c", ref="v1.0")
    assert file.decode() == b"int main;\n" and file.last_commit_id == first and file.size == 10
    assert gl.files.raw("space dir/ä.txt", ref="main") == "ü\n".encode()
    tree = gl.repository_tree(recursive=True, get_all=True)
    assert [(it["path"], it["type"]) for it in tree if it["type"] == "blob"] == [
        ("README.md", "blob"),
        ("space dir/ä.txt", "blob"),
        ("src/main.c", "blob"),
    ]
    branch = gl.branches.get("main")
    assert branch.protected is True and branch.default is True and branch.commit["id"] == second
    made = gl.branches.create({"branch": "topic/one", "ref": first})
    assert made.commit["id"] == first and {it.name for it in gl.branches.list(get_all=True)} == {"main", "topic/one"}
    gl.branches.delete("topic/one")
    assert [it.name for it in gl.branches.list(get_all=True)] == ["main"]
    tag = gl.tags.get("v1.0")
    assert tag.commit["id"] == first and tag.message == "Version one" and tag.target == project.work.git("rev-parse", "v1.0")

    for missing in (lambda: gl.commits.get("0" * 40), lambda: gl.files.get("absent", ref="main"), lambda: gl.branches.get("absent"), lambda: gl.tags.get("v9")):
        with pytest.raises(GitlabGetError) as error:
            missing()
        assert error.value.response_code == 404
    with pytest.raises(GitlabDeleteError):
        gl.branches.delete("main")


def test_commits_of_many_files_list_by_pages(project: Project) -> None:
    for number in range(5):
        project.work.commit({"n": str(number)}, f"Commit {number}")
    project.work.push()
    listed = project.gitlab.commits.list(iterator=True, per_page=2)
    assert [it.title for it in listed] == [f"Commit {number}" for number in range(4, -1, -1)]


def test_pipelines_and_jobs(project: Project) -> None:
    run = project.push_ci(YAML).end("success")
    gl = project.gitlab
    pipeline = gl.pipelines.get(run.id)
    assert pipeline.web_url == f"{project.url}/-/pipelines/{run.id}" and pipeline.iid == 1 and pipeline.yaml_errors is None
    assert gl.pipelines.latest(ref="main").id == run.id
    assert [it.id for it in gl.pipelines.list(status="success", ref="main", sha=pipeline.sha, get_all=True)] == [run.id]
    assert gl.pipelines.list(status="failed", get_all=True) == []
    job = run.job("work")
    assert (job.stage, job.ref, job.status, job.tag, job.allow_failure) == ("test", "main", "success", False, False)
    assert job.commit["id"] == pipeline.sha and job.user["username"] == "root" and job.runner and job.artifacts_file["filename"] == "artifacts.zip"
    assert job.web_url == f"{project.url}/-/jobs/{job.id}"
    assert b"hello" in job.trace() and job.artifact("file.txt") == b"file\n"
    pieces: list[bytes] = []
    job.artifacts(streamed=True, action=pieces.append)
    assert b"".join(pieces).startswith(b"PK")
    assert [it.id for it in gl.jobs.list(scope=["success"], get_all=True)] == [job.id] and gl.jobs.list(scope="failed", get_all=True) == []
    job.keep_artifacts()
    assert run.job("work").artifacts_expire_at is None
    job.delete_artifacts()
    with pytest.raises(GitlabGetError):
        run.job("work").artifacts()
    assert run.job("work").cancel()["status"] == "success", "what has ended stays as it is"
    retried = job.retry()
    assert retried["name"] == "work" and retried["id"] != job.id
    run.end("success")
    pipeline.delete()
    with pytest.raises(GitlabGetError):
        gl.pipelines.get(run.id)


def test_runners(world: World, project: Project) -> None:
    gl = world.root.gitlab
    gl.auth()
    embedded = gl.runners_all.list(get_all=True)
    assert embedded and embedded[0].runner_type == "instance_type" and embedded[0].status == "online"
    assert gl.user
    made = gl.user.runners.create({"runner_type": "instance_type", "description": "Mine", "tag_list": ["a", "b"], "run_untagged": False})
    assert secrets.note(made.token).startswith("glrt-")
    runner = gl.runners.get(made.id)
    assert (runner.description, sorted(runner.tag_list), runner.run_untagged, runner.status) == ("Mine", ["a", "b"], False, "never_contacted")
    runner.paused = True
    runner.save()
    assert gl.runners.get(made.id).paused is True
    verified = requests.post(f"{world.server.url}/api/v4/runners/verify", json={"token": made.token}, timeout=10)
    assert verified.status_code == 200 and verified.json()["id"] == made.id
    runner.delete()
    assert requests.post(f"{world.server.url}/api/v4/runners/verify", json={"token": made.token}, timeout=10).status_code == 403
    own = world.account("owner")
    refused = own.post("/user/runners", json={"runner_type": "instance_type"})
    assert refused.status_code == 403
    mine = world.project(own)
    allowed = own.post("/user/runners", json={"runner_type": "project_type", "project_id": mine.id})
    assert allowed.status_code == 201 and secrets.note(allowed.json()["token"])
    assert own.post("/user/runners", json={"runner_type": "project_type", "project_id": project.id}).status_code in (403, 404)


def test_users(world: World) -> None:
    gl = world.root.gitlab
    name, password = unique("grace"), secrets.new_password()
    made = gl.users.create({"username": name, "name": "Grace", "email": f"{name}@example.org", "password": password, "skip_confirmation": True})
    assert (made.username, made.state, made.is_admin) == (name, "active", False) and made.web_url == f"{world.server.url}/{name}"
    assert [it.id for it in gl.users.list(username=name.upper(), get_all=True)] == [made.id]
    assert [it.id for it in gl.users.list(search=name, get_all=True)] == [made.id]
    for field in ("username", "email"):
        person = {"username": unique("x"), "name": "X", "email": f"{unique('x')}@example.org", "password": secrets.new_password()}
        with pytest.raises(GitlabCreateError) as taken:
            gl.users.create({**person, field: name if field == "username" else f"{name}@example.org"})
        assert taken.value.response_code in (400, 409) and "taken" in str(taken.value)
    with pytest.raises(GitlabCreateError):
        gl.users.create({"username": unique("x"), "name": "X", "email": f"{unique('x')}@example.org", "password": "short"})
    other = world.account("other")
    public = other.gitlab.users.get(made.id)
    assert public.name == "Grace" and "email" not in public.attributes
    with pytest.raises(GitlabCreateError) as refused:
        other.gitlab.users.create({"username": unique("x"), "name": "X", "email": "x@example.org", "password": secrets.new_password()})
    assert refused.value.response_code == 403
    token = world.token(other, ("api",))
    world.root.post(f"/users/{other.id}/block")
    assert requests.get(f"{world.server.url}/api/v4/user", headers={"PRIVATE-TOKEN": token}, timeout=10).status_code in (401, 403)
    world.root.post(f"/users/{other.id}/unblock")
    assert other.get("/user").status_code == 200


def test_tokens(world: World) -> None:
    owner = world.account("tokens")
    gl = owner.gitlab
    own = gl.personal_access_tokens.list(get_all=True)
    assert [it.scopes for it in own] == [["api", "write_repository"]] and "token" not in own[0].attributes
    assert gl.personal_access_tokens.get("self").id == own[0].id
    second = world.token(owner, ("read_api",))
    reader = gitlab.Gitlab(world.server.url, private_token=second)
    assert reader.personal_access_tokens.get("self").scopes == ["read_api"]
    with pytest.raises(GitlabCreateError) as refused:
        reader.projects.create({"name": unique("app")})
    assert refused.value.response_code == 403 and "insufficient_scope" in str(refused.value.response_body)
    gl.personal_access_tokens.delete(reader.personal_access_tokens.get("self").id)
    with pytest.raises(GitlabAuthenticationError):
        reader.auth()
    assert [it.id for it in world.account("other").gitlab.personal_access_tokens.list(get_all=True)] != [own[0].id]


def test_groups_and_members(world: World) -> None:
    owner, friend, stranger = (world.account(it) for it in ("boss", "friend", "stranger"))
    gl = owner.gitlab
    path = unique("team")
    group = gl.groups.create({"name": "The Team", "path": path})
    assert (group.full_path, group.visibility) == (path, "private")
    sub = gl.groups.create({"name": "Sub", "path": "sub", "parent_id": group.id})
    assert sub.full_path == f"{path}/sub"
    app = gl.projects.create({"name": "app", "namespace_id": sub.id})
    assert app.path_with_namespace == f"{path}/sub/app"
    with pytest.raises(GitlabGetError):
        friend.gitlab.projects.get(app.id)
    group.members.create({"user_id": friend.id, "access_level": 30})
    access = friend.gitlab.projects.get(app.id).permissions
    assert max(it["access_level"] for it in access.values() if it) == 30
    assert {it.username: it.access_level for it in app.members_all.list(get_all=True)} == {owner.username: 50, friend.username: 30}
    app.members.create({"user_id": friend.id, "access_level": 40})
    member = app.members.get(friend.id)
    assert (member.access_level, member.username) == (40, friend.username)
    member.access_level = 20
    member.save()
    assert {it.username: it.access_level for it in app.members_all.list(get_all=True)}[friend.username] == 30, "the strongest role counts"
    app.members.delete(friend.id)
    group.members.delete(friend.id)
    with pytest.raises(GitlabGetError):
        friend.gitlab.groups.get(path)
    with pytest.raises(GitlabCreateError) as taken:
        gl.groups.create({"name": "x", "path": path})
    assert taken.value.response_code == 400
    assert [it.full_path for it in gl.groups.list(get_all=True)] and stranger.gitlab.groups.list(get_all=True) == []
    assert [it.path_with_namespace for it in group.projects.list(include_subgroups=True, get_all=True)] == [f"{path}/sub/app"]


def test_nobody_raises_themselves(world: World, project: Project) -> None:
    maintainer = project.member("maintainer", 40)
    mine = project.as_(maintainer)
    with pytest.raises(GitlabError) as refused:
        member = mine.members.get(maintainer.id)
        member.access_level = 50
        member.save()
    assert refused.value.response_code == 403
    with pytest.raises(GitlabCreateError) as refused_owner:
        mine.members.create({"user_id": world.account("x").id, "access_level": 50})
    assert refused_owner.value.response_code == 403


def test_unknown_routes_and_methods_are_json(world: World) -> None:
    absent = world.root.get("/no/such/route")
    assert absent.status_code == 404 and absent.json() == {"error": "404 Not Found"}
    wrong = world.root.request("PATCH", "/user")
    assert wrong.status_code in (404, 405) and wrong.headers["Content-Type"] == "application/json"
    anonymous = world.server.get("/api/v4/user")
    assert anonymous.status_code == 401 and anonymous.json() == {"message": "401 Unauthorized"}
    assert world.root.get(f"/projects/{'x' * 5000}").status_code in (404, 414)
    assert requests.head(f"{world.server.url}/api/v4/version", headers={"PRIVATE-TOKEN": world.root.token}, timeout=10).status_code == 200


def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    answer = world.root.post("/projects", data=b'{"name":"' + b"x" * (3 << 20) + b'"}', headers={"Content-Type": "application/json"})
    assert answer.status_code == 413, answer.text[:200]


def test_jobs_are_played_and_canceled(project: Project, gates: Gates) -> None:
    word = unique("play")
    run = project.push_ci(f"manual:\n  when: manual\n  script: {gates.wait_command(word)}\n")
    run.wait_for_job("manual", "manual")
    run.job("manual").play()
    gates.wait_for_arrival(word)
    assert run.job("manual").cancel()["status"] in ("canceling", "canceled")
    run.wait_for_job("manual", "canceled")
    with pytest.raises(GitlabError):
        run.job("manual").play()
