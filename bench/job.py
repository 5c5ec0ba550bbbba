"""What a job costs, on the server with its embedded runner, in the runner alone, and where Podman does it."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import measure
from measure import commit_file, git

ROOT = pathlib.Path(__file__).resolve().parents[1]
JOBS = int(os.environ.get("BENCH_JOBS", 200))
AT_ONCE = 4
CONTAINERS = 40
CONFIG = f"[runner]\nconcurrency = {AT_ONCE}\nprofile = \"full\"\njob_memory_bytes = 268435456\njob_request_bytes = 67108864\n"


def job():
    """CPU and rate of jobs that do nothing, against `podman run`; start, log, cancel, sources and memory in the runner."""
    figures = empty_jobs()
    rate = podman_rate()
    if rate is not None:
        figures["`podman run` of nothing, four at once"] = (rate, "/s", "")
        figures["jobs against `podman run`"] = (figures["empty jobs, four at once"][0] / rate, "x", "")
    return figures | alone()


def cpu_seconds(pid):
    """CPU time of a process, of those that it waited for, and of those that live."""
    total = 0
    for one in (pid, *measure.descendants(pid)):
        try:
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It ended meanwhile, and whoever waited for it has its time.
        total += sum(int(it) for it in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def empty_jobs():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "rave.toml").write_text(CONFIG)
        with measure.server("--config", scratch / "rave.toml") as server:
            token = server.token()
            api = server.api(token)
            work = scratch / "work"
            work.mkdir()
            git("init", "-q", "-b", "main", cwd=work)
            head = "variables:\n  GIT_STRATEGY: none\n"
            # The first pipeline warms up; the second one counts, from the moment that its jobs are there.
            for name, count in (("warm", 8), ("many", JOBS)):
                commit_file(work, ".gitlab-ci.yml", head + "".join(f"job-{it}:\n  script: ['true']\n" for it in range(count)))
                begin, before = time.perf_counter(), cpu_seconds(server.process.pid)
                git("push", "-q", server.repository(token, name), "main", cwd=work)
                ended = wait_for_end(api, f"root%2F{name}")
                elapsed, used = time.perf_counter() - begin, cpu_seconds(server.process.pid) - before
                assert ended["status"] == "success", ended
    return {
        "empty jobs, four at once": (JOBS / elapsed, "jobs/s", "40 or more"),
        "CPU of an empty job, server, push and pipeline included": (used / JOBS * 1000, "ms", "60 or less"),
    }


def wait_for_end(api, project):
    while True:
        pipelines = api(f"/projects/{project}/pipelines", params={"per_page": 1}).json()
        if pipelines and pipelines[0]["status"] in ("success", "failed", "canceled"):
            return pipelines[0]
        time.sleep(0.05)


def podman_rate():
    """Containers per second that are made, do nothing and are removed. `None` where there is no Podman."""
    if not shutil.which("podman") or not pathlib.Path("/bin/busybox").exists():
        print("  left out: Podman and busybox-static are the peer")
        return None
    sys.path.insert(0, str(ROOT / "tests"))
    from harness.podman import Podman

    podman = Podman()
    try:
        image = podman.make_image("localhost/bench")

        def one(_):
            podman.run("run", "--rm", "--network=none", image, "true")

        one(0)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            begin = time.perf_counter()
            list(pool.map(one, range(CONTAINERS)))
            return CONTAINERS / (time.perf_counter() - begin)
    finally:
        podman.close()


def alone():
    """Lets the program that measures the runner do so."""
    program = os.environ.get("JOB_BENCH")
    if not program:
        subprocess.run(["cargo", "build", "--quiet", "--release", "--package", "rave-runner", "--example", "job_bench"], cwd=ROOT, check=True)
        program = ROOT / "target/release/examples/job_bench"
    brief = ["--brief"] if os.environ.get("BENCH_BRIEF") else []
    done = subprocess.run([program, *brief, measure.BINARY], check=True, stdout=subprocess.PIPE, text=True)
    lines = [it.split("\t") for it in done.stdout.splitlines()]
    return {what: (float(value), unit, target) for what, value, unit, target in lines}
