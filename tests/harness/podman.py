"""A Podman of one's own, with images that come from no registry."""

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from .server import remove
from .wait import wait_for

# Without these Podman asks for more than a container of its own may have: limits above the machine's, a cgroup manager that
# is not there.
SETTINGS = """[containers]
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
APPLETS = ("sh", "cat", "echo", "env", "grep", "httpd", "id", "kill", "ls", "mkdir", "nc", "ps", "rm", "sleep", "touch", "true", "wget", "whoami", "yes")


class Podman:
    """The service of the Docker Engine API, and its storage."""

    def __init__(self) -> None:
        # Short, because the addresses of sockets are.
        self.directory = Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))
        settings = self.directory / "containers.conf"
        settings.write_text(SETTINGS)
        self.env = {**os.environ, "CONTAINERS_CONF": str(settings)}
        self.socket = self.directory / "podman.sock"
        self.log_path = self.directory / "service.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self._command("system", "service", "--time", "0", self.host), env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the socket of Podman", self.socket.exists)

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def _command(self, *arguments: str) -> list[str]:
        return ["podman", "--root", str(self.directory / "root"), "--runroot", str(self.directory / "run"), *arguments]

    def run(self, *arguments: str, input: bytes | None = None) -> str:
        done = subprocess.run(self._command(*arguments), env=self.env, cwd=self.directory, input=input, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def make_image(self, name: str, files: dict[str, str] | None = None, *changes: str) -> str:
        """Makes an image of busybox and some files. `changes` are lines of a Dockerfile such as `USER 1234`."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add("/bin/busybox", "bin/busybox")
            for applet in APPLETS:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            passwd = "root:x:0:0::/:/bin/sh\nworker:x:1234:1234::/:/bin/sh\n"
            for path, text in {"etc/passwd": passwd, **(files or {})}.items():
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(text), 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
        changed = [it for change in changes for it in ("--change", change)]
        self.run("import", *changed, "-", name, input=archive.getvalue())
        return name

    def containers(self) -> list[str]:
        return self.run("ps", "--all", "--quiet").split()

    def networks(self) -> list[str]:
        return [it for it in self.run("network", "ls", "--format", "{{.Name}}").split() if it != "podman"]

    def close(self) -> None:
        for container in self.containers():
            self.run("rm", "--force", container)
        self.process.terminate()
        self.process.wait(60)
        subprocess.run(["umount", str(self.directory / "root/overlay")], capture_output=True)
        remove(self.directory)
