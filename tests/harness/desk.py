"""`rave runner run`: runners of a configuration file in the stock runner's keys."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import secrets
from .server import BINARY, environment, run
from .world import World


class Desk:
    """A directory with a runner's configuration file, and the process that follows it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.env = environment(directory / "home")
        self.config = directory / "rave-runner" / "config.toml"
        self.log_path = secrets.note_log(directory / "runner.log")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = run(["runner", *arguments], self.env, self.directory)
        assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    def register(self, world: World, name: str, **settings: object) -> int:
        made = world.root.post("/user/runners", json={"runner_type": "instance_type", "description": name, **settings}).json()
        token = secrets.note(made["token"])
        done = self.command("register", "--url", world.server.url, "--token", token, "--name", name, "--json")
        assert json.loads(done.stdout)["id"] == made["id"]
        return made["id"]

    def start(self, *arguments: str) -> "Desk":
        with self.log_path.open("ab") as log:
            command = [str(BINARY), "runner", "run", *arguments]
            self.process = subprocess.Popen(command, env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return self

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process
        return self.process.wait(60)

    def edit(self, change: Callable[[str], str]) -> None:
        self.config.write_text(change(self.config.read_text()))
