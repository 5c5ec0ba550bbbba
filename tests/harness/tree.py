"""A working tree in which `rave ci` runs, with a home and a cache of its own."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import git
from .server import BINARY

LIMIT_SECS = 120


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    def must(self, code: int) -> "Ran":
        assert self.code == code, f"ended with {self.code} instead of {code}:\n{self.out}\n{self.err}"
        return self

    def events(self, kind: str) -> list[dict]:
        """Returns the events of one kind that `--json` printed."""
        return [it for it in map(json.loads, self.out.splitlines()) if it["event"] == kind]

    def summary(self) -> dict:
        (summary,) = self.events("summary")
        return summary

    def jobs(self) -> dict[str, str]:
        """Returns the status of each job."""
        return {it["name"]: it["status"] for it in self.summary()["jobs"]}

    def log(self, job: str) -> list[str]:
        return [it["line"] for it in self.events("log") if it["job"] == job]


class Tree:
    """A directory with files, which is a repository unless told otherwise."""

    def __init__(self, directory: Path, files: dict[str, str], repository: bool = True):
        self.base, self.directory = directory, directory / "work"
        self.directory.mkdir(parents=True)
        self.env = git.environment(directory / "home", RUST_BACKTRACE="1")
        self.write(files)
        if repository:
            self.git("init", "-q", "-b", "main")
            self.commit("First")

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, env=self.env, cwd=self.directory, capture_output=True, text=True, timeout=LIMIT_SECS)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "-q", "-m", message)

    @property
    def caches(self) -> Path:
        return self.base / "home" / ".cache" / "rave" / "ci"

    def runs(self) -> list[Path]:
        """Returns the directories of runs that are there."""
        return list(self.caches.glob("*/run-*"))

    def start(self, *arguments: object, **more: str) -> subprocess.Popen[str]:
        """Starts a `rave ci` command in a process group of its own, as a shell does."""
        command = [str(BINARY), "ci", *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.env | more, cwd=self.directory, text=True, start_new_session=True, **pipes)

    def ci(self, *arguments: object, **more: str) -> Ran:
        """Runs a `rave ci` command to its end."""
        process = self.start(*arguments, **more)
        try:
            out, err = process.communicate(timeout=LIMIT_SECS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"rave ci {arguments} did not end:\n{out}\n{err}") from None
        return Ran(process.returncode, out, err)

    def run(self, *arguments: object, **more: str) -> Ran:
        return self.ci("run", "--json", *arguments, **more)
