"""`rave runner`: a runner of its own, as on another machine."""

import signal
import subprocess
from pathlib import Path

from . import secrets
from .server import BINARY, environment


class RemoteRunner:
    """A runner process that a test starts, stops and kills."""

    def __init__(self, directory: Path, url: str, token: str, *arguments: str):
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = secrets.note_log(directory / "runner.log")
        env = environment(directory / "home", RAVE_RUNNER_TOKEN=token)
        command = [str(BINARY), "runner", "--url", url, "--data", str(directory / "data"), "--name", directory.name, *arguments]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def __enter__(self) -> "RemoteRunner":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")
