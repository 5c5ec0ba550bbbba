"""Stock git against the server: every way to clone, fetch and push, what is refused, and what lies on disk."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from harness import secrets
from harness.gate import Gates
from harness.git import Work, fsck
from harness.server import Server
from harness.world import Project, World, unique

REPORTER, DEVELOPER, MAINTAINER = 20, 30, 40
MIB = 1 << 20


def clone(world: World, *arguments: str, **env: str) -> Work:
    """Clones into a new directory."""
    work = Work(world.directory("clone") / "repo", **env)
    work.git("clone", "--quiet", *arguments, ".")
    return work


@pytest.mark.parametrize("protocol", ["2", "0"])
@pytest.mark.parametrize("credential", ["token", "password"])
def test_clone_fetch_and_push(world: World, protocol: str, credential: str) -> None:
    owner = world.account("coder")
    project = world.project(owner)
    secret = owner.token if credential == "token" else owner.password
    remote = owner.remote(project.path, secret)
    work = Work.init(world.directory("work") / "repo", remote)
    work.git("config", "protocol.version", protocol)
    first = work.commit({"README.md": "# One\n"})
    work.push("--set-upstream", "origin", "main")

    other = clone(world, "-c", f"protocol.version={protocol}", remote)
    assert other.head() == first and (other.directory / "README.md").read_text() == "# One\n"
    second = work.commit({"two": "2\n"})
    work.git("tag", "v1")
    work.push("origin", "main", "v1")
    other.git("fetch", "--quiet", "--tags")
    assert other.git("rev-parse", "origin/main", "v1").split() == [second, second]
    trace = other.try_git("ls-remote", "origin", env={"GIT_TRACE_PACKET": "1"}).must_succeed()
    assert ("version 2" in trace.err) == (protocol == "2"), "the server speaks the version that was asked for"
    assert f"{second}\trefs/heads/main" in trace.out and "ref: refs/heads/main\tHEAD" in other.git("ls-remote", "--symref", "origin")


def test_push_makes_a_project_where_one_may(world: World) -> None:
    owner = world.account("maker")
    path = f"{owner.username}/{unique('born')}"
    work = Work.init(world.directory("work") / "repo", owner.remote(path))
    head = work.commit({"a": "b"})
    work.push("origin", "main")
    made = owner.gitlab.projects.get(path)
    assert made.visibility == "private" and made.default_branch == "main" and made.commits.get(head).id == head

    stranger = world.account("stranger")
    for victim in (f"{owner.username}/{unique('born')}", f"nobody-{unique('x')}/app"):
        refused = Work.init(world.directory("work") / "repo", stranger.remote(victim))
        refused.commit({"a": "b"})
        refused.try_git("push", "origin", "main").must_fail()
        assert owner.get(f"/projects/{victim.replace('/', '%2F')}").status_code == 404


def test_a_first_push_to_another_branch_makes_it_the_default(world: World) -> None:
    project = world.project()
    project.work.commit({"a": "b"})
    project.work.git("branch", "--move", "trunk")
    project.work.push("origin", "trunk")
    assert project.gitlab.branches.get("trunk").commit["id"] == project.work.head()
    cloned = clone(world, project.owner.remote(project.path))
    assert cloned.git("rev-parse", "--abbrev-ref", "HEAD") == "trunk"


def test_shallow_clones_deepen(world: World, project: Project) -> None:
    heads = [project.work.commit({"n": str(number)}, f"Commit {number}") for number in range(6)]
    project.work.push()
    work = clone(world, "--depth", "2", project.owner.remote(project.path))
    assert work.git("rev-list", "HEAD").split() == [heads[5], heads[4]]
    work.git("fetch", "--quiet", "--deepen", "2")
    assert len(work.git("rev-list", "HEAD").split()) == 4
    work.git("fetch", "--quiet", "--unshallow")
    assert work.git("rev-list", "HEAD").split() == heads[::-1]


def test_partial_clones_fetch_what_they_lack(world: World, project: Project) -> None:
    project.push({"big": "x" * 100_000, "dir/small": "small\n"})
    work = clone(world, "--filter=blob:none", "--no-checkout", project.owner.remote(project.path))
    missing = work.git("rev-list", "--objects", "--all", "--missing=print").splitlines()
    assert sum(it.startswith("?") for it in missing) == 2, missing
    assert work.git("show", "HEAD:dir/small") == "small"
    missing = work.git("rev-list", "--objects", "--all", "--missing=print").splitlines()
    assert sum(it.startswith("?") for it in missing) == 1, missing


def test_a_long_negotiation_is_compressed(world: World, project: Project) -> None:
    """Who has many commits that the server does not know lists them, compressed, which the server must take apart again."""
    project.push({"a": "b"})
    work = clone(world, project.owner.remote(project.path))
    # Younger than what is common, so that it is offered first.
    person = "committer A <a@b> {} +0000"
    stream = "".join(f"commit refs/heads/own\n{person.format(4_102_444_800 + number)}\ndata 1\nx\n" for number in range(1, 500))
    work.git("fast-import", "--quiet", input=stream.encode())
    project.push({"new": "file"})
    done = work.try_git("-c", "protocol.version=0", "fetch", "origin", "main", env={"GIT_CURL_VERBOSE": "1", "GIT_TRACE_CURL_NO_DATA": "1"})
    done.must_succeed()
    assert re.search(r"content-encoding: gzip", done.err, re.I), "the request was too small to be compressed"
    assert work.git("rev-parse", "FETCH_HEAD") == project.work.head()


def test_a_compressed_body_that_lies_is_refused(world: World, project: Project) -> None:
    project.push({"a": "b"})
    headers = {"Content-Type": "application/x-git-upload-pack-request", "Content-Encoding": "gzip"}
    auth = ("root", project.owner.token)
    for body in (b"not gzip at all", gzip.compress(b"0" * 100_000)[:50]):
        answer = requests.post(f"{project.clone_url()}/git-upload-pack", data=body, headers=headers, auth=auth, timeout=30)
        assert answer.status_code in (400, 422) or (answer.status_code == 200 and b"ERR" in answer.content), (answer.status_code, answer.content)


def test_push_options_are_offered(project: Project) -> None:
    project.work.commit({"a": "b"})
    done = project.work.try_git("push", "-o", "ci.skip", "-o", "something.else", "origin", "main")
    assert done.code == 0, done.err


def test_the_default_branch_is_protected(world: World, project: Project) -> None:
    developer, maintainer = project.member("developer", DEVELOPER), project.member("maintainer", MAINTAINER)
    project.push({"a": "1"})
    work = clone(world, developer.remote(project.path))
    before = work.head()
    work.commit({"a": "2"})
    work.try_git("push", "origin", "main").must_fail("remote: RAVE: You are not allowed to push to the protected branch main", "pre-receive hook declined")
    work.try_git("push", "origin", ":main").must_fail("protected branch main")
    work.push("origin", "HEAD:refs/heads/topic")
    work.git("commit", "--quiet", "--amend", "--message", "Another")
    work.push("--force", "origin", "HEAD:refs/heads/topic")
    work.push("origin", ":topic")
    assert [it.name for it in project.gitlab.branches.list(get_all=True)] == ["main"]

    work.git("remote", "set-url", "origin", maintainer.remote(project.path))
    work.git("checkout", "--quiet", "--orphan", "other")
    work.commit({"a": "3"})
    work.try_git("push", "--force", "origin", "HEAD:main").must_fail("not allowed to force push to the protected branch main")
    work.try_git("push", "origin", ":main").must_fail("not allowed to delete the protected branch main")
    assert project.gitlab.branches.get("main").commit["id"] == before
    work.git("checkout", "--quiet", "main")
    work.push("origin", "main")
    assert project.gitlab.branches.get("main").commit["id"] == work.head()


def test_one_refused_reference_refuses_the_push(world: World, project: Project) -> None:
    developer = project.member("developer", DEVELOPER)
    project.push({"a": "1"})
    work = clone(world, developer.remote(project.path))
    work.commit({"a": "2"})
    work.try_git("push", "origin", "HEAD:main", "HEAD:refs/heads/topic").must_fail()
    assert [it.name for it in project.gitlab.branches.list(get_all=True)] == ["main"]
    objects = project.world.server.repository(project.id) / "objects"
    assert not list(objects.glob("tmp_objdir-*")), "the quarantine is gone"
    fsck(project.world.server.repository(project.id))


@pytest.mark.parametrize("reference", ["refs/pipelines/1", "refs/merge-requests/1/head", "refs/anything"])
def test_only_branches_and_tags_can_be_pushed(project: Project, reference: str) -> None:
    project.push({"a": "1"})
    project.work.try_git("push", "origin", f"HEAD:{reference}").must_fail("only branches and tags")


def test_who_may_read(world: World, project: Project) -> None:
    project.push({"a": "1"})
    reporter, stranger = project.member("reporter", REPORTER), world.account("stranger")
    assert clone(world, reporter.remote(project.path)).head()
    reporting = clone(world, reporter.remote(project.path))
    reporting.commit({"a": "2"})
    reporting.try_git("push", "origin", "HEAD:refs/heads/topic").must_fail("403")
    work = Work(world.directory("clone") / "repo")
    work.try_git("clone", stranger.remote(project.path), ".").must_fail("not found")

    info = f"{project.clone_url()}/info/refs?service=git-upload-pack"
    anonymous = requests.get(info, timeout=10)
    assert anonymous.status_code == 401 and anonymous.headers["WWW-Authenticate"].startswith("Basic ")
    absent = requests.get(f"{world.server.url}/root/{unique('absent')}.git/info/refs?service=git-upload-pack", timeout=10)
    assert (absent.status_code, absent.text) == (anonymous.status_code, anonymous.text), "private and absent look alike"
    wrong = requests.get(info, auth=("root", secrets.new_password()), timeout=10)
    assert wrong.status_code == 401
    work.try_git("clone", project.clone_url(), ".").must_fail("could not read Username")


def test_a_public_project_is_cloned_by_anyone_and_pushed_by_nobody(world: World) -> None:
    project = world.project(visibility="public")
    project.push({"a": "1"})
    work = clone(world, project.clone_url())
    assert work.head() == project.work.head()
    work.commit({"a": "2"})
    work.try_git("push", "origin", "main").must_fail("could not read Username")
    work.git("remote", "set-url", "origin", world.account("stranger").remote(project.path))
    work.try_git("push", "origin", "main").must_fail("403")


def test_scopes_limit_tokens(world: World) -> None:
    owner = world.account("scoped")
    project = world.project(owner)
    project.push({"a": "1"})
    reading = clone(world, owner.remote(project.path, world.token(owner, ("read_repository",))))
    reading.commit({"a": "2"})
    reading.try_git("push", "origin", "main").must_fail("403")
    work = Work(world.directory("clone") / "repo")
    work.try_git("clone", owner.remote(project.path, world.token(owner, ("read_user",))), ".").must_fail("403")


def test_a_revoked_token_stops_at_once(world: World) -> None:
    owner = world.account("revoked")
    project = world.project(owner)
    project.push({"a": "1"})
    token = world.token(owner, ("read_repository",))
    info = f"{project.clone_url()}/info/refs?service=git-upload-pack"
    assert requests.get(info, auth=("any", token), timeout=10).status_code == 200
    made = [it for it in owner.gitlab.personal_access_tokens.list(get_all=True) if it.scopes == ["read_repository"]]
    made[0].delete()
    assert requests.get(info, auth=("any", token), timeout=10).status_code == 401


def test_a_push_of_50_mib_streams(world: World, project: Project) -> None:
    """Larger than git's buffer, so that it comes in chunks of unknown number; and the server does not hold it in memory."""
    before = resident_kib(world)
    project.work.commit({"big.bin": os.urandom(50 * MIB)})
    done = project.work.try_git("-c", "core.compression=0", "push", "origin", "main", env={"GIT_CURL_VERBOSE": "1", "GIT_TRACE_CURL_NO_DATA": "1"})
    done.must_succeed()
    assert re.search(r"transfer-encoding: chunked", done.err, re.I)
    grown = resident_kib(world) - before
    assert grown < 40 * 1024, f"the server grew by {grown} KiB"
    cloned = clone(world, project.owner.remote(project.path))
    assert cloned.head() == project.work.head()
    fsck(world.server.repository(project.id))


def resident_kib(world: World) -> int:
    process = world.server.process
    assert process
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_stock_git_reads_the_directory(world: World, project: Project) -> None:
    head = project.push({"a": "1"}) and project.work.head()
    project.work.git("tag", "--annotate", "--message", "One", "v1")
    project.work.push("origin", "v1")
    repository = world.server.repository(project.id)
    fsck(repository)
    work = Work(world.directory("disk") / "repo")
    work.git("-c", "safe.directory=*", "clone", "--quiet", str(repository), ".")
    assert work.head() == head and work.git("describe") == "v1"


def test_a_jobs_token_clones_and_does_not_push(world: World, project: Project, gates: Gates) -> None:
    word = unique("token")
    run = project.push_ci(f"job:\n  script:\n    - {gates.tell_command(word, '$CI_JOB_TOKEN')}\n    - {gates.wait_command(word)}\n")
    token = secrets.note(gates.hear(word))
    address = f"http://gitlab-ci-token:{token}@{project.clone_url().removeprefix('http://')}"
    work = clone(world, address)
    assert work.head() == project.work.head()
    work.commit({"evil": "!"})
    work.try_git("push", "origin", "HEAD:refs/heads/evil").must_fail("403")
    other = world.project()
    other.push({"a": "b"})
    elsewhere = f"http://gitlab-ci-token:{token}@{other.clone_url().removeprefix('http://')}"
    Work(world.directory("clone") / "repo").try_git("clone", elsewhere, ".").must_fail()
    assert requests.get(f"{world.server.url}/api/v4/job", headers={"JOB-TOKEN": token}, timeout=10).json()["name"] == "job"

    gates.open(word)
    run.end("success")
    Work(world.directory("clone") / "repo").try_git("clone", address, ".").must_fail()


def test_dumb_and_unknown_services_are_refused(project: Project) -> None:
    project.push({"a": "1"})
    auth = ("root", project.owner.token)
    for tail, statuses in {
        "/info/refs": (400, 403),
        "/info/refs?service=git-upload-archive": (400, 403),
        "/objects/info/packs": (401, 404),
        "/HEAD": (401, 404),
        "/config": (401, 404),
    }.items():
        answer = requests.get(project.clone_url() + tail, auth=auth, timeout=10)
        assert answer.status_code in statuses, f"{tail}: {answer.status_code} {answer.text[:200]}"


def test_concurrent_pushes_to_one_branch_leave_one_winner(world: World, project: Project) -> None:
    project.push({"a": "1"})
    works = [clone(world, project.owner.remote(project.path)) for _ in range(4)]
    heads = [work.commit({"a": f"from {number}"}) for number, work in enumerate(works)]
    pushes = [work.start("push", "--quiet", "origin", "main") for work in works]
    ends = [it.end() for it in pushes]
    codes = [it.code for it in ends]
    assert codes.count(0) == 1, ends
    assert project.gitlab.branches.get("main").commit["id"] == heads[codes.index(0)]
    fsck(world.server.repository(project.id))


def test_a_push_is_refused_where_the_project_is_archived(world: World, project: Project) -> None:
    project.push({"a": "1"})
    project.gitlab.archive()
    project.work.commit({"a": "2"})
    project.work.try_git("push", "origin", "main").must_fail("403")
    assert clone(world, project.owner.remote(project.path)).head()


def test_the_servers_git_reads_no_configuration_of_its_user(own_server: Callable[..., Server], scratch: Path) -> None:
    """What whoever started the server has in their home directory must not change what clients get."""
    server = own_server()
    settings = '[uploadpack]\n\thideRefs = refs/\n[receive]\n\tmaxInputSize = 1\n[core]\n\thooksPath = /bin\n'
    (server.directory / "home" / ".gitconfig").write_text(settings)
    project = World(server.start(), scratch).project()
    project.push({"a": "1"})
    assert f"{project.work.head()}\trefs/heads/main" in project.work.git("ls-remote", "origin")
