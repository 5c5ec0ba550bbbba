"""People and projects on a server, made by the API with python-gitlab."""

import itertools
import re
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import gitlab
import requests
from gitlab.v4.objects import Project as GitlabProject
from gitlab.v4.objects import ProjectJob, ProjectPipeline

from . import secrets
from .git import Done, Work
from .server import Server
from .wait import DEADLINE_SECS, wait_for

_numbers = itertools.count(1)
ENDED = {"success", "failed", "canceled", "skipped"}


def unique(word: str) -> str:
    """Returns a name that nothing else in the session has."""
    return f"{word}-{next(_numbers)}"


@dataclass
class Account:
    """Somebody with a token, and with a password if they sign in."""

    server: Server
    username: str
    token: str
    password: str = ""
    id: int = 0

    @cached_property
    def gitlab(self) -> gitlab.Gitlab:
        return gitlab.Gitlab(self.server.url, private_token=self.token, timeout=60, retry_transient_errors=False)

    def request(self, method: str, path: str, **options: object) -> requests.Response:
        """Asks the API as this account. `path` begins after `/api/v4`."""
        headers = {"PRIVATE-TOKEN": self.token, **options.pop("headers", {})}
        return requests.request(method, f"{self.server.url}/api/v4{path}", headers=headers, timeout=60, **options)

    def get(self, path: str, **options: object) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: object) -> requests.Response:
        return self.request("POST", path, **options)

    def remote(self, path: str, secret: str | None = None) -> str:
        """Returns the address of a repository with this account's credentials in it."""
        host = self.server.url.removeprefix("http://")
        return f"http://{quote(self.username)}:{quote(secret or self.token)}@{host}/{path}.git"

    def sign_in(self) -> requests.Session:
        """Signs in with the form, as a browser does, and returns the session."""
        session = requests.Session()
        session.headers["Origin"] = self.server.url
        form = {"login": self.username, "password": self.password}
        answer = session.post(f"{self.server.url}/-/login", data=form, timeout=30, allow_redirects=False)
        assert answer.status_code in (302, 303), f"{self.username} cannot sign in: {answer.status_code} {answer.text[:500]}"
        for value in session.cookies.values():
            secrets.note(value)
        return session


class World:
    """A server with its administrator."""

    def __init__(self, server: Server, scratch: Path):
        self.server = server
        self.scratch = scratch
        self.root = Account(server, "root", server.create_token(), server.admin_password, 1)

    def account(self, word: str, scopes: tuple[str, ...] = ("api", "write_repository"), admin: bool = False) -> Account:
        """Makes an account with a token of its own."""
        name, password = unique(word), secrets.new_password()
        person = {"username": name, "name": name.title(), "email": f"{name}@example.org", "password": password, "admin": admin, "skip_confirmation": True}
        made = self.root.post("/users", json=person)
        assert made.status_code == 201, made.text
        account = Account(self.server, name, "", password, made.json()["id"])
        account.token = self.token(account, scopes)
        return account

    def token(self, account: Account, scopes: tuple[str, ...], **more: object) -> str:
        """Makes another token for an account."""
        wanted = {"name": unique("token"), "scopes": list(scopes), **more}
        made = self.root.post(f"/users/{account.id}/personal_access_tokens", json=wanted)
        assert made.status_code == 201, made.text
        return secrets.note(made.json()["token"])

    def directory(self, word: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{word}-", dir=self.scratch))

    def project(self, owner: Account | None = None, **settings: object) -> "Project":
        """Makes a project with an empty repository, and a working copy of it."""
        owner = owner or self.root
        made = owner.gitlab.projects.create({"name": unique("app"), **settings})
        return Project(self, owner, made)

    def ci(self, yaml: str, files: dict[str, str] | None = None, owner: Account | None = None, options: tuple[str, ...] = ()) -> "Run":
        """Makes a project, pushes a `.gitlab-ci.yml` and returns its pipeline."""
        return self.project(owner).push_ci(yaml, files, options)


@dataclass
class Project:
    """A project, its owner and a working copy."""

    world: World
    owner: Account
    gitlab: GitlabProject
    commits: int = field(default=0)

    @cached_property
    def work(self) -> Work:
        return Work.init(self.world.directory("work") / "repo", self.owner.remote(self.path))

    @property
    def path(self) -> str:
        return self.gitlab.path_with_namespace

    @property
    def id(self) -> int:
        return self.gitlab.id

    @property
    def url(self) -> str:
        return f"{self.world.server.url}/{self.path}"

    def clone_url(self) -> str:
        """Returns the address without credentials."""
        return f"{self.url}.git"

    def as_(self, account: Account) -> GitlabProject:
        return account.gitlab.projects.get(self.id)

    def add(self, account: Account, level: int) -> Account:
        """Makes somebody a member."""
        self.gitlab.members.create({"user_id": account.id, "access_level": level})
        return account

    def member(self, word: str, level: int) -> Account:
        return self.add(self.world.account(word), level)

    def push(self, files: dict[str, str | bytes], *arguments: str, message: str = "Change things") -> Done:
        self.work.commit(files, message)
        return self.work.push(*arguments, "origin", "HEAD")

    def push_ci(self, yaml: str, files: dict[str, str] | None = None, options: tuple[str, ...] = ()) -> "Run":
        """Pushes a `.gitlab-ci.yml` and returns the pipeline that it makes."""
        self.commits += 1
        done = self.push({".gitlab-ci.yml": yaml, **(files or {})}, *options, message=f"Commit {self.commits}")
        return self.run(self.work.head(), done)

    def run(self, sha: str, done: Done | None = None) -> "Run":
        found = wait_for(f"the pipeline of {sha}", lambda: self.gitlab.pipelines.list(sha=sha, get_all=True))
        return Run(self, found[0].id, done)

    def pipelines(self) -> list[ProjectPipeline]:
        return self.gitlab.pipelines.list(get_all=True)


@dataclass
class Run:
    """A pipeline on its way."""

    project: Project
    id: int
    pushed: Done | None = None

    @property
    def pipeline(self) -> ProjectPipeline:
        return self.project.gitlab.pipelines.get(self.id)

    def jobs(self, **options: object) -> dict[str, ProjectJob]:
        """Returns the newest try of every job by its name."""
        listed = self.pipeline.jobs.list(get_all=True, **options)
        return {it.name: self.project.gitlab.jobs.get(it.id) for it in sorted(listed, key=lambda it: it.id)}

    def job(self, name: str) -> ProjectJob:
        jobs = self.jobs()
        assert name in jobs, f"there is no job {name} but {list(jobs)}"
        return jobs[name]

    def trace(self, name: str) -> str:
        return trace(self.job(name))

    def statuses(self) -> dict[str, str]:
        return {it.name: it.status for it in self.pipeline.jobs.list(get_all=True)}

    def wait_for_job(self, name: str, *statuses: str, deadline_secs: float = DEADLINE_SECS) -> ProjectJob:
        """Waits until a job has one of these statuses."""

        def reached() -> ProjectJob | None:
            job = self.job(name)
            return job if job.status in statuses else None

        return wait_for(f"job {name} to be {' or '.join(statuses)}", reached, deadline_secs, self.describe)

    def end(self, status: str, deadline_secs: float = DEADLINE_SECS) -> "Run":
        """Waits until the pipeline ends, which must be with this status."""
        ended = wait_for("the pipeline's end", lambda: self.pipeline.status in ENDED | {"manual"}, deadline_secs, self.describe)
        assert ended and self.pipeline.status == status, f"the pipeline is not {status}: {self.describe()}"
        return self

    def describe(self) -> str:
        """Tells what the pipeline looks like, with the ends of the logs: for failures."""
        text = f"pipeline {self.id} is {self.pipeline.status}, errors {self.pipeline.yaml_errors!r}"
        for job in self.jobs().values():
            reason = getattr(job, "failure_reason", None)
            text += f"\n--- {job.name}: {job.status} {reason or ''}\n" + "\n".join(trace(job).splitlines()[-25:])
        return text


def trace(job: ProjectJob) -> str:
    """Returns a job's log without colours, sections and time stamps."""
    raw = job.trace()
    return plain(raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw))


def plain(text: str) -> str:
    text = re.sub(r"section_(start|end):\d+:[^\r]*\r\x1b\[0K", "", text)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return re.sub(r"(?m)^\d{4}-\d\d-\d\dT[\d:.]+Z [0-9a-f]{2}[OE][ +]", "", text)
