"""The stock GitLab Runner: registered, started, stopped and killed as people do it. `scripts/stock-runner` builds it."""

import os
import re
import signal
import subprocess
from pathlib import Path

from . import secrets
from .server import ROOT, environment
from .world import Run, World, plain, unique

BINARY = Path(os.environ.get("STOCK_RUNNER", ROOT / "target/peers/gitlab-runner")).resolve()
# `concurrent` bounds all of a machine's runners together; shells that ignore a signal are not waited for long.
GLOBAL = "concurrent = 8\ncheck_interval = 1\nshutdown_timeout = 10\n"


class StockRunner:
    """A runner of the instance with a tag of its own, on a machine of its own."""

    def __init__(self, world: World, runner: str = "", **settings: object):
        """`settings` are the server's for this runner, `runner` is more of its section of `config.toml`."""
        self.world, self.tag = world, unique("stock")
        self.directory = world.directory(self.tag)
        self.log_path = secrets.note_log(self.directory / "runner.log")
        self.config = self.directory / "config.toml"
        self.config.write_text(GLOBAL)
        self.template = self.directory / "template.toml"
        self.template.write_text(f"[[runners]]\nrequest_concurrency = 4\n{runner}")
        wanted = {"runner_type": "instance_type", "tag_list": [self.tag], "run_untagged": False, "description": self.tag, **settings}
        made = world.root.post("/user/runners", json=wanted)
        assert made.status_code == 201, made.text
        self.id, self.token = made.json()["id"], secrets.note(made.json()["token"])
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "StockRunner":
        done = self.register()
        assert done.returncode == 0, done.stdout + done.stderr
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.kill()

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs one of the runner's own commands to its end."""
        command = [str(BINARY), *map(str, arguments), "--config", str(self.config)]
        env = environment(self.directory / "home")
        return subprocess.run(command, env=env, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def register(self, token: str | None = None, *more: object, url: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._register("--token", token or self.token, *more, url=url)

    def register_itself(self, registration_token: str, *more: object) -> subprocess.CompletedProcess[str]:
        """Makes a runner of its own by a token that many may have: the way of old."""
        return self._register("--registration-token", registration_token, "--tag-list", self.tag, *more)

    def _register(self, *more: object, url: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.command(
            "register", *more, "--non-interactive", "--url", url or self.world.server.url, "--name", self.tag, "--executor", "shell",
            "--template-config", self.template, "--builds-dir", self.directory / "builds", "--cache-dir", self.directory / "cache",
        )  # fmt: skip

    def start(self) -> "StockRunner":
        command = [str(BINARY), "run", "--config", str(self.config), "--working-directory", str(self.directory)]
        env = environment(self.directory / "home")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return self

    def quit(self) -> int:
        """Lets it finish its jobs and end."""
        return self._end(signal.SIGQUIT)

    def stop(self) -> int:
        """Lets it end at once, its jobs too."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        process, self.process = self.process, None
        assert process, "the runner does not run"
        process.send_signal(how)
        return process.wait(60)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def ci(self, yaml: str, files: dict[str, str] | None = None) -> Run:
        """Makes a project whose jobs are this runner's."""
        return self.world.ci(self.tagged(yaml), files)

    def tagged(self, yaml: str) -> str:
        """Makes a file's jobs this runner's."""
        return f"default:\n  tags: [{self.tag}]\n{yaml}"


def raw_log(run: Run, job: str) -> str:
    """Returns a log as it was sent."""
    return run.job(job).trace().decode()


def _section(log: str, name: str) -> str:
    """Returns what the log has in a section, as a reader sees it."""
    found = re.search(rf"section_start:\d+:{name}(?:\[[^\]]*\])?\r\x1b\[0K(.*?)section_end:\d+:{name}\r", log, re.DOTALL)
    assert found, f"the log has no section {name}:\n{log}"
    return plain(found[1])


def said(log: str, name: str) -> list[str]:
    """Returns the lines of a section without what the runner itself says."""
    own_words = ("Executing", "Running after", "WARNING: after_script failed")
    lines = [it.rstrip("\r") for it in _section(log, name).splitlines()]
    return [it for it in lines if it and not it.startswith(own_words)]
