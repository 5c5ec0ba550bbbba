"""Stock git with nothing of the machine's own configuration."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

LIMIT_SECS = 120


@dataclass
class Done:
    """How a git command ended."""

    command: str
    code: int
    out: str
    err: str

    def must_succeed(self) -> "Done":
        assert self.code == 0, f"{self.command} failed with {self.code}:\n{self.out}{self.err}"
        return self

    def must_fail(self, *texts: str) -> "Done":
        assert self.code != 0, f"{self.command} succeeded:\n{self.out}{self.err}"
        for text in texts:
            assert text in self.err, f"{self.command} does not say {text!r}:\n{self.err}"
        return self


def environment(home: Path, **more: str) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    person = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        # Sample hooks in hundreds of working copies only take time.
        "GIT_TEMPLATE_DIR": "",
        **person,
        **more,
    }


@dataclass
class Running:
    """A git command under way."""

    command: str
    process: subprocess.Popen[bytes]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def end(self, timeout: float = LIMIT_SECS) -> Done:
        """Waits for its end."""
        out, err = self.process.communicate(timeout=timeout)
        return Done(self.command, self.process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


class Work:
    """A directory in which git works."""

    def __init__(self, directory: Path, **env: str):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.env = environment(directory.parent / "home", **env)

    @classmethod
    def init(cls, directory: Path, remote: str | None = None, **env: str) -> "Work":
        work = cls(directory, **env)
        work.git("init", "--quiet", "--initial-branch=main")
        if remote:
            work.git("remote", "add", "origin", remote)
        return work

    def try_git(self, *arguments: str, input: bytes | None = None, env: dict[str, str] | None = None, timeout: float = LIMIT_SECS) -> Done:
        """Runs git and tells how it ended."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.directory, env={**self.env, **(env or {})}, input=input or b"", capture_output=True, timeout=timeout
        )
        return Done(" ".join(["git", *arguments]), done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def git(self, *arguments: str, **options: object) -> str:
        """Runs git, which must succeed, and returns what it printed."""
        return self.try_git(*arguments, **options).must_succeed().out.strip()

    def start(self, *arguments: str, **env: str) -> "Running":
        """Starts git and lets it run."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(["git", *arguments], cwd=self.directory, env={**self.env, **env}, **streams)
        return Running(" ".join(["git", *arguments]), process)

    def commit(self, files: dict[str, str | bytes], message: str = "Change things") -> str:
        """Writes files, commits everything and returns the commit."""
        for name, content in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def push(self, *arguments: str) -> Done:
        """Pushes the current branch, which must succeed."""
        return self.try_git("push", *(arguments or ("origin", "HEAD"))).must_succeed()


def fsck(repository: Path) -> None:
    """Checks a repository on disk with stock git alone."""
    work = Work(repository, GIT_DIR=str(repository))
    done = work.try_git("-c", "safe.directory=*", "fsck", "--full", "--strict", "--no-dangling")
    assert done.code == 0 and "error" not in done.err, f"{repository} is damaged:\n{done.out}{done.err}"
