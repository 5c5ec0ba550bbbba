"""One `rave up`: started, asked, stopped, killed and started again."""

import os
import re
import signal
import subprocess
from pathlib import Path

import requests

from . import secrets
from .wait import wait_for

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("RAVE_BINARY", ROOT / "target/debug/rave")).resolve()
READY = re.compile(r"is ready on (\S+)")
CLAIM = re.compile(r"Claim the administrator's account: (\S+)")
STOP_SECS = 45

# All servers of the session, for the logs that a failure shows.
servers: list["Server"] = []


def environment(home: Path, **more: str) -> dict[str, str]:
    """Returns a whole environment: nothing of the machine's user gets in."""
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "RUST_BACKTRACE": "1", **more}


def run(arguments: list[object], env: dict[str, str], cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs the binary to its end."""
    command = [str(BINARY), *map(str, arguments)]
    return subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def remove(directory: Path) -> None:
    """Removes a directory with many thousands of files, which `rm` does faster than Python."""
    subprocess.run(["rm", "-rf", "--", str(directory)], check=True)


class Server:
    """A server in a directory of its own."""

    def __init__(
        self, directory: Path, database_url: str | None = None, config: str = "", arguments: tuple[str, ...] = (), listen: str = "127.0.0.1:0"
    ):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.data = directory / "data"
        self.log_path = secrets.note_log(directory / "server.log")
        self.admin_password = secrets.new_password()
        self.arguments = [*arguments]
        self.env = environment(directory / "home")
        if database_url:
            self.env["RAVE_DATABASE_URL"] = database_url
        if config:
            (directory / "rave.toml").write_text(config)
            self.arguments += ["--config", str(directory / "rave.toml")]
        self.listen = listen
        self.process: subprocess.Popen[bytes] | None = None
        self.claim: str | None = None
        servers.append(self)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *arguments: str, with_password: bool = True) -> "Server":
        """Starts the server, on the same port as before if there was one, and waits until it says that it is ready."""
        assert self.process is None, "the server runs already"
        command = [str(BINARY), "up", "--data", str(self.data), "--listen", self.listen, *self.arguments, *arguments]
        if with_password:
            password_file = self.directory / "admin-password"
            password_file.write_text(self.admin_password + "\n")
            command += ["--admin-password-file", str(password_file)]
        start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

        def ready() -> str | None:
            text = self.log(start)
            assert self.process and self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{text}"
            found = READY.search(text)
            return found and found[1]

        said = wait_for("the server's ready line", ready, otherwise=lambda: self.log(start))
        if self.listen.endswith(":0"):
            self.listen = said.removeprefix("http://")
        # The claim link is the next line, and only when there is something to claim.
        if not with_password:
            claim = wait_for("the claim link", lambda: CLAIM.search(self.log(start)), 5, lambda: self.log(start))
            # Printed on purpose: the one secret that the output shows.
            self.claim = claim[1]
        return self

    @property
    def url(self) -> str:
        """Returns the address of the listener itself, whatever address people are told."""
        return f"http://{self.listen}"

    def stop(self) -> int:
        """Asks the server to stop and returns its exit code."""
        process, self.process = self.process, None
        assert process, "the server does not run"
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not stop within {STOP_SECS} s of SIGTERM") from None

    def kill(self) -> None:
        """Ends the server as a crash would. What it started lives on, as it would after a crash."""
        process, self.process = self.process, None
        assert process, "the server does not run"
        process.kill()
        process.wait()

    def restart(self) -> "Server":
        return self.start()

    def close(self) -> None:
        """Stops the server, if it runs, and removes its data."""
        try:
            if self.process:
                code = self.stop()
                assert code == 0, f"the server ended with {code} after SIGTERM"
        finally:
            remove(self.data)

    def log(self, start: int = 0) -> str:
        """Returns what the server logged from an offset on."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def rave(self, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command of the binary beside the server."""
        return run(list(arguments), self.env, self.directory, timeout)

    def create_token(self, username: str = "root", scopes: str = "api,write_repository") -> str:
        done = self.rave("token", "create", "--data", self.data, "--user", username, "--scopes", scopes)
        assert done.returncode == 0, done.stderr
        return secrets.note(done.stdout.strip())

    def get(self, path: str, **options: object) -> requests.Response:
        """Asks as nobody in particular."""
        return requests.get(self.url + path, timeout=30, **options)

    def repository(self, project_id: int) -> Path:
        """Returns where a project's repository is on disk."""
        found = [it for it in (self.data / "repos").rglob("*.git") if it.name == f"{project_id}.git"]
        assert len(found) == 1, f"project {project_id} has the repositories {found}"
        return found[0]

