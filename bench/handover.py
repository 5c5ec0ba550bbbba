"""How soon a stock GitLab Runner, whose request is held, has a job that became ready."""

import os
import pathlib
import signal
import sqlite3
import subprocess
import tempfile
import time

import measure
from measure import commit_file, git, percentile
from pipelines import config

JOBS = 60
RUNNER = pathlib.Path(os.environ.get("STOCK_RUNNER", "target/peers/gitlab-runner")).resolve()


def start(server, api, directory):
    """Registers a stock runner and starts it."""
    path = directory / "config.toml"
    path.write_text("concurrent = 4\ncheck_interval = 1\n")
    made = api("/user/runners", method="POST", json={"runner_type": "instance_type", "run_untagged": True}).json()
    env = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    subprocess.run([RUNNER, "register", "--non-interactive", "--url", server.url, "--token", made["token"], "--executor", "shell", "--config", path,
                    "--builds-dir", directory / "builds"], env=env, check=True, capture_output=True)
    log = (directory / "log").open("w")
    return subprocess.Popen([RUNNER, "run", "--config", path, "--working-directory", directory], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def handover():
    """Manual jobs are started one by one: from ready in the database to the runner's first word, its own work included."""
    if not RUNNER.exists():
        print("  left out: scripts/stock-runner builds the runner")
        return {}
    with measure.server("--config", config()) as server, tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        token = server.token()
        api = server.api(token)
        work = scratch / "work"
        work.mkdir()
        git("init", "-q", "-b", "main", cwd=work)
        text = ".work: {script: ['true'], when: manual, variables: {GIT_STRATEGY: none}}\n"
        commit_file(work, ".gitlab-ci.yml", text + "".join(f"job-{it}: {{extends: .work}}\n" for it in range(JOBS)))
        git("push", "-q", server.repository(token, "app"), "main", cwd=work)
        while len(found := api("/projects/root%2Fapp/jobs", params={"per_page": 100}).json()) < JOBS:
            time.sleep(0.05)
        runner = start(server, api, scratch)
        try:
            for job in found:
                time.sleep(1.2)  # The runner asks at most every second, and is held from then on.
                api(f"/projects/root%2Fapp/jobs/{job['id']}/play", method="POST").raise_for_status()
                while api(f"/projects/root%2Fapp/jobs/{job['id']}").json()["status"] != "success":
                    time.sleep(0.05)
        finally:
            runner.send_signal(signal.SIGTERM)
            runner.wait(timeout=60)
        rows = sqlite3.connect(f"file:{server.data / 'rave.db'}?mode=ro", uri=True).execute("SELECT started_at - queued_at FROM ci_job").fetchall()
    taken = [it[0] for it in rows]
    return {
        "ready to the first word of a stock runner, held, p50": (percentile(taken, 0.5), "ms", ""),
        "ready to the first word of a stock runner, held, p99": (percentile(taken, 0.99), "ms", "50 or less"),
    }
