"""Twenty jobs that take a GiB each, on a budget of four: what has to be tried again, and what is left of the machine."""

import pathlib
import tempfile
import threading
import time

import measure
from measure import commit_file, git

JOBS = 20
GIB = 1 << 30
TAKES = "head -c 1024M /dev/zero | tail -c 1024M | wc -c"
CONFIG = f"""
[runner]
profile = "full"
concurrency = 8
memory_bytes = {4 * GIB}
"""


def kernel(file, key):
    """A number that the kernel tells."""
    lines = pathlib.Path(file).read_text().splitlines()
    return next(int(it.split()[1]) for it in lines if it.startswith(key))


class Lowest:
    """The least memory that the machine had free meanwhile."""

    def __enter__(self):
        self.before = self.least = kernel("/proc/meminfo", "MemAvailable:")
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.done.wait(0.05):
            self.least = min(self.least, kernel("/proc/meminfo", "MemAvailable:"))

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def one_pass(api, work, remote, number):
    """Pushes and waits. Returns the seconds that it took, how many tries there were, and the most of one job."""
    text = "".join(f"job-{it}: {{script: ['{TAKES}']}}\n" for it in range(JOBS))
    commit_file(work, ".gitlab-ci.yml", f"{text}# {number}\n")
    began = time.monotonic()
    git("push", "-q", remote, "main", cwd=work)
    while True:
        found = api("/projects/root%2Fapp/pipelines", params={"per_page": 1})
        latest = found.json() if found.status_code == 200 else []
        if latest and latest[0]["id"] >= number and latest[0]["status"] in ("success", "failed"):
            break
        time.sleep(0.1)
    took = time.monotonic() - began
    assert latest[0]["status"] == "success", latest
    jobs = api(f"/projects/root%2Fapp/pipelines/{latest[0]['id']}/jobs", params={"per_page": 100, "include_retried": True}).json()
    names = [it["name"] for it in jobs]
    return took, len(jobs), max(names.count(it) for it in names)


def budget():
    """The first pass knows nothing of the jobs; the second knows what they took."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "rave.toml").write_text(CONFIG)
        with measure.server("--config", scratch / "rave.toml") as server:
            token = server.token()
            api, work, remote = server.api(token), scratch / "work", server.repository(token, "app")
            work.mkdir()
            git("init", "-q", "-b", "main", cwd=work)
            kills = kernel("/proc/vmstat", "oom_kill ")
            with Lowest() as lowest:
                first, second = one_pass(api, work, remote, 1), one_pass(api, work, remote, 2)
            kills = kernel("/proc/vmstat", "oom_kill ") - kills
    return {
        "first pass: jobs tried again": (first[1] - JOBS, "", ""),
        "first pass: the most retries of one job": (first[2] - 1, "", "at most 1"),
        "first pass, all jobs": (first[0], "s", ""),
        "second pass: jobs tried again": (second[1] - JOBS, "", "0"),
        "second pass, all jobs": (second[0], "s", ""),
        "processes that the kernel ended for want of memory": (kills, "", "0"),
        "memory of the machine in use at most, beyond before": ((lowest.before - lowest.least) / (1 << 20), "GiB", "4 and the server"),
    }
