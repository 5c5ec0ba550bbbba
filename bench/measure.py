"""What the benchmarks have in common: processes, memory, medians, and a RAVE server on a free port."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import requests

BINARY = os.environ.get("RAVE_BINARY", "target/release/rave")
GIT_ENV = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0", "GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@localhost",
    "GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench@localhost", "LC_ALL": "C",
}


def git(*arguments, cwd=None):
    subprocess.run(["git", *map(str, arguments)], cwd=cwd, env=GIT_ENV, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


def median(values):
    return statistics.median(values)


def resident_bytes(pid):
    """The memory of one process that is in RAM."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descendants(pid):
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(it) for it in task.read_text().split()]
                found += children
                queue += children
    return found


def free_port():
    import socket
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Server:
    """`rave up` in a directory of its own."""

    def __init__(self, data=None, *options):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="rave-bench-"))
        self.data = data or self.root / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        password = self.root / "password"
        password.write_text("a password for the benchmark\n")
        self.log = open(self.root / "log", "w")
        self.process = subprocess.Popen(
            [BINARY, "up", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--admin-password-file", password, *options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def wait(self):
        """Waits for the first 200 and returns the seconds since the call."""
        start = time.perf_counter()
        while True:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/-/health", timeout=5).status_code == 200:
                    return time.perf_counter() - start
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {(self.root / 'log').read_text()}")
            time.sleep(0.002)

    def token(self):
        made = subprocess.run([BINARY, "token", "create", "--data", self.data, "--user", "root"], check=True, capture_output=True, text=True)
        return made.stdout.strip()

    def api(self, token):
        session = requests.Session()
        session.headers["PRIVATE-TOKEN"] = token
        return lambda path, method="GET", **more: session.request(method, f"{self.url}/api/v4{path}", timeout=30, **more)

    def repository(self, token, name):
        return f"http://root:{token}@127.0.0.1:{self.port}/root/{name}.git"

    def stop(self, keep=False):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.log.close()
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def server(*options):
    running = Server(None, *options)
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def make_repository(path, megabytes, seed=1):
    """A repository of files that do not compress, in 1 MiB pieces with a few commits, the same for a seed."""
    import random
    generator = random.Random(seed)
    path.mkdir(parents=True)
    git("init", "-q", "-b", "main", cwd=path)
    for number in range(megabytes):
        (path / f"file-{number:04}.bin").write_bytes(generator.randbytes(1 << 20))
        if number % 50 == 49 or number == megabytes - 1:
            git("add", "-A", cwd=path)
            git("commit", "-q", "-m", f"Up to {number}", cwd=path)
    git("gc", "-q", cwd=path)


def size_of(path):
    return sum(it.stat().st_size for it in path.rglob("*") if it.is_file())


def commit_file(path, name, text, message="Change"):
    (path / name).write_text(text)
    git("add", "-A", cwd=path)
    git("commit", "-q", "-m", message, cwd=path)


def first_number(pattern, text):
    found = re.search(pattern, text)
    return float(found.group(1)) if found else None
