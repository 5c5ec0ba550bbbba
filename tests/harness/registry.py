"""A registry of images of one's own: Debian's docker-registry, which is the reference implementation."""

import subprocess
from pathlib import Path

import requests

from .postgres import free_port
from .wait import wait_for


class Registry:
    """The server. Podman puts images into it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.address = f"127.0.0.1:{free_port()}"
        settings = directory / "registry.yml"
        settings.write_text(
            f"version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {directory / 'data'}}}}}\nhttp: {{addr: {self.address}}}\n"
        )
        with (directory / "registry.log").open("ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the registry", self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://{self.address}/v2/", timeout=5).ok
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
