"""A real PostgreSQL from the system's packages, with a database for each server that asks for one."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from .wait import wait_for


def free_port() -> int:
    """Returns a port that was free a moment ago, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A server in a directory of its own. Root hands it to the user `postgres`, because PostgreSQL refuses root."""

    def __init__(self) -> None:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda it: int(it.parts[-3]))
        assert versions, "PostgreSQL is not installed: apt-get install postgresql"
        self.programs = versions[-1].parent
        self.directory = Path(tempfile.mkdtemp(prefix="rave-e2e-pg-"))
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        self.data = self.directory / "data"
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._run("initdb", "--auth=trust", "--username=rave", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", self.data)
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = f"-p {self.port} -k {self.directory} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300"
        self._run("pg_ctl", "start", "-s", "-w", "-D", self.data, "-l", self.directory / "log", "-o", settings)

    def stop(self, mode: str = "fast") -> None:
        """Stops the server: `fast` breaks connections and tidies up, `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-s", "-w", "-m", mode, "-D", self.data)

    def freeze(self) -> None:
        """Makes the server and all its connections silent without closing them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def create_database(self) -> str:
        """Makes an empty database and returns its address."""
        name = f"rave_{next(self._numbers)}"
        self._run("createdb", "-U", "rave", "-h", "127.0.0.1", "-p", str(self.port), name)
        return f"postgres://rave@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        self.thaw()
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        wait_for("PostgreSQL's end", lambda: not (self.data / "postmaster.pid").exists())
        shutil.rmtree(self.directory)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                # The end of a connection that broke meanwhile.
                continue

    def _processes(self) -> list[int]:
        leader = self.data / "postmaster.pid"
        if not leader.exists():
            return []
        pid = int(leader.read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())]

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        log = self.directory / "commands.log"
        # The server inherits what pg_ctl has: a pipe would never end.
        with log.open("ab") as output:
            options = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory, timeout=60, **options
            )
        assert done.returncode == 0, f"{program} failed with {done.returncode}:\n{log.read_text(errors='replace')}"
