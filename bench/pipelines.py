"""How fast a large pipeline comes to be and moves on, seen by git, the database file and a runner that does nothing."""

import concurrent.futures
import pathlib
import sqlite3
import tempfile
import time

import measure
import requests
from measure import commit_file, git, median

JOBS = 1000
MOST_JOBS = 2000  # The server makes no larger pipelines.
NO_RUNNER = "[runner]\nembedded = false\n"


def wide():
    """One stage of 1,000 jobs, with rules, needs and variables of their own."""
    head = ".base:\n  variables: {A: '1'}\n  rules: [{if: '$CI_COMMIT_BRANCH'}]\n  script: [echo]\n"
    return head + "".join(f"job-{it}:\n  extends: .base\n  needs: []\n  variables: {{N: '{it}'}}\n" for it in range(JOBS))


def fan_out():
    """One job, after which 999 are let go."""
    return "stages: [one, many]\nfirst: {stage: one, script: [echo]}\n" + "".join(
        f"job-{it}: {{stage: many, script: [echo]}}\n" for it in range(JOBS - 1))


def chain(jobs):
    """Jobs, each of which needs the one before."""
    return "job-0: {script: [echo]}\n" + "".join(f"job-{it}: {{needs: [job-{it - 1}], script: [echo]}}\n" for it in range(1, jobs))


class Bench:
    """A server without a runner of its own, and a project for each pipeline."""

    def __init__(self, server, scratch):
        self.server, self.scratch = server, pathlib.Path(scratch)
        self.token = server.token()
        made = requests.post(f"{server.url}/api/v4/user/runners", headers={"PRIVATE-TOKEN": self.token},
                             json={"runner_type": "instance_type", "run_untagged": True}, timeout=30)
        self.runner = made.json()["token"]

    def push(self, name, text):
        """Pushes a file to a new project. Returns the seconds from the recorded push to all its jobs being visible."""
        work = self.scratch / name
        work.mkdir()
        git("init", "-q", "-b", "main", cwd=work)
        commit_file(work, ".gitlab-ci.yml", text)
        database = sqlite3.connect(f"file:{self.server.data / 'rave.db'}?mode=ro", uri=True)
        before = database.execute("SELECT COALESCE(MAX(id), 0) FROM ci_pipeline").fetchone()[0]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pushing = pool.submit(git, "push", "-q", self.server.repository(self.token, name), "main", cwd=work)
            query = "SELECT 1 FROM ci_pipeline WHERE ready = 1 AND id > ?"
            while not database.execute(query, (before,)).fetchone():
                time.sleep(0.001)
            seen = time.time()
            pushing.result()
        pushed = database.execute("SELECT MAX(at) FROM event_log WHERE kind = 'push.received'").fetchone()[0]
        return seen - pushed / 1000

    def request(self):
        """Asks for a job as a runner does, held until there is one."""
        last_update = ""
        while True:
            answer = requests.post(f"{self.server.url}/api/v4/jobs/request", timeout=90, json={
                "token": self.runner, "system_id": "bench", "info": {"features": {}}, "last_update": last_update})
            if answer.status_code == 201:
                return answer.json()
            assert answer.status_code == 204, answer.text
            last_update = answer.headers.get("X-GitLab-Last-Update", "")

    def update(self, job, state):
        requests.put(f"{self.server.url}/api/v4/jobs/{job['id']}", json={"token": job["token"], "state": state}, timeout=30).raise_for_status()

    def step(self, job):
        """Ends a job while the next one is waited for. Returns the next one and the seconds it took to be offered."""
        self.update(job, "running")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            following = pool.submit(lambda: (self.request(), time.perf_counter()))
            time.sleep(0.05)  # The request is held by then.
            begin = time.perf_counter()
            self.update(job, "success")
            found, at = following.result()
        return found, at - begin


def pipelines():
    """A pushed file of 1,000 jobs until all wait for a runner; a job's end until the next job is offered. SQLite."""
    with measure.server("--config", config()) as server, tempfile.TemporaryDirectory() as scratch:
        bench = Bench(server, scratch)
        made = [bench.push(f"wide-{it}", wide()) for it in range(5)]
        api = f"{server.url}/api/v4/projects/root%2Fwide-"
        for it in range(5):
            requests.delete(f"{api}{it}", headers={"PRIVATE-TOKEN": bench.token}, timeout=30).raise_for_status()
        chained = {}
        for jobs in JOBS, MOST_JOBS:
            bench.push(f"chain-{jobs}", chain(jobs))
            job, steps = bench.request(), []
            for _ in range(50):
                job, seconds = bench.step(job)
                steps.append(seconds)
            chained[jobs] = median(steps)
            requests.delete(f"{server.url}/api/v4/projects/root%2Fchain-{jobs}", headers={"PRIVATE-TOKEN": bench.token}, timeout=30)
        fanned = []
        for it in range(3):
            bench.push(f"fan-{it}", fan_out())
            _, seconds = bench.step(bench.request())
            fanned.append(seconds)
            requests.delete(f"{server.url}/api/v4/projects/root%2Ffan-{it}", headers={"PRIVATE-TOKEN": bench.token}, timeout=30)
    return {
        "push received to 1,000 jobs pending, median": (median(made) * 1000, "ms", "250 or less"),
        "job's end to next job offered, chain of 1,000, median": (chained[JOBS] * 1000, "ms", "50 or less"),
        "the same, chain of 2,000": (chained[MOST_JOBS] * 1000, "ms", "as of 1,000"),
        "job's end to the first of 999 it lets go, median": (median(fanned) * 1000, "ms", "50 or less"),
    }


def config():
    path = pathlib.Path(tempfile.mkdtemp(prefix="rave-bench-config-")) / "rave.toml"
    path.write_text(NO_RUNNER)
    return path
