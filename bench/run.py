#!/usr/bin/env python3
"""Runs the benchmarks and prints their figures: `make bench`, or `python bench/run.py start clone` for some of them."""

import concurrent.futures
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import time

import budget
import cache
import handover
import job
import measure
import peer
import pipelines
import planning
from measure import Server, commit_file, git, median, percentile, timed

MIB = 1 << 20


def start():
    """Cold start (fresh directory) and warm start (existing one) to the first 200; idle memory."""
    cold, warm = [], []
    for _ in range(7):
        server = Server()
        cold.append(server.wait())
        server.stop(keep=True)
        again = Server(server.data)
        warm.append(again.wait())
        again.stop()
        shutil.rmtree(server.root, ignore_errors=True)
    with measure.server() as server:
        time.sleep(10)
        idle = measure.resident_bytes(server.process.pid)
    return {
        "cold start to first 200, median": (median(cold) * 1000, "ms", "under 1000"),
        "warm start to first 200, median": (median(warm) * 1000, "ms", "under 1000"),
        "idle resident memory after 10 s": (idle / MIB, "MiB", "under 60"),
    }


PIPELINE = "job:\n  script:\n    - echo the-first-line\n"


def push():
    """From the start of `git push` to the first line of the job's log, and to the first line that its script wrote."""
    any_line, own_line = [], []
    with measure.server() as server, tempfile.TemporaryDirectory() as scratch:
        token = server.token()
        api = server.api(token)
        work = pathlib.Path(scratch) / "work"
        work.mkdir()
        git("init", "-q", "-b", "main", cwd=work)
        commit_file(work, ".gitlab-ci.yml", PIPELINE)
        git("push", "-q", server.repository(token, "app"), "main", cwd=work)
        wait_for_end(api, "root%2Fapp")
        for number in range(40):
            commit_file(work, "number", str(number))
            begin = time.perf_counter()
            pushing = threading.Thread(target=lambda: git("push", "-q", server.repository(token, "app"), "main", cwd=work))
            pushing.start()
            first, own = watch_log(api, number + 2, begin)
            any_line.append(first)
            own_line.append(own)
            pushing.join()
            wait_for_end(api, "root%2Fapp")
    return {
        "push to first log line, p50": (percentile(any_line, 0.5) * 1000, "ms", "under 400"),
        "push to first log line, p99": (percentile(any_line, 0.99) * 1000, "ms", ""),
        "push to the script's first line, p50": (percentile(own_line, 0.5) * 1000, "ms", ""),
        "push to the script's first line, p99": (percentile(own_line, 0.99) * 1000, "ms", ""),
    }


def watch_log(api, count, begin):
    """Waits for the count-th job of the project and returns when its log began, and when its script wrote."""
    first = None
    while True:
        jobs = api("/projects/root%2Fapp/jobs", params={"per_page": 1})
        if int(jobs.headers["X-Total"]) >= count:
            job = jobs.json()[0]["id"]
            break
        time.sleep(0.005)
    while True:
        trace = api(f"/projects/root%2Fapp/jobs/{job}/trace").text
        now = time.perf_counter() - begin
        if trace and first is None:
            first = now
        if "\nthe-first-line" in trace:
            return first, now
        time.sleep(0.005)


def wait_for_end(api, project):
    while True:
        pipelines = api(f"/projects/{project}/pipelines", params={"per_page": 1}).json()
        if pipelines and pipelines[0]["status"] in ("success", "failed", "canceled"):
            return pipelines[0]
        time.sleep(0.02)


def clone():
    """Clone and push of a 200 MB repository against git http-backend behind nginx and fcgiwrap, alternating."""
    times = {("rave", "clone"): [], ("peer", "clone"): [], ("rave", "push"): [], ("peer", "push"): []}
    with measure.server() as server, peer.http_backend() as (url, repos), tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        source = scratch / "source"
        measure.make_repository(source, 200)
        token = server.token()
        bytes_packed = measure.size_of(source / ".git" / "objects")
        for round_number in range(5):
            for who in ("rave", "peer"):
                name = f"big-{round_number}"
                if who == "peer":
                    peer.bare(repos, name)
                remote = server.repository(token, name) if who == "rave" else f"{url}/{name}.git"
                times[who, "push"].append(timed(lambda: git("push", "-q", remote, "main", cwd=source)))
        for round_number in range(7):
            for who in ("rave", "peer"):
                remote = server.repository(token, "big-0") if who == "rave" else f"{url}/big-0.git"
                target = scratch / "target"
                times[who, "clone"].append(timed(lambda: git("clone", "-q", "--bare", remote, target)))
                shutil.rmtree(target)
    figures = {}
    for kind in ("clone", "push"):
        ours, theirs = median(times["rave", kind]), median(times["peer", kind])
        figures[f"{kind} of 200 MB, RAVE"] = (bytes_packed / MIB / ours, "MiB/s", "")
        figures[f"{kind} of 200 MB, http-backend behind nginx"] = (bytes_packed / MIB / theirs, "MiB/s", "")
        figures[f"{kind} throughput against the peer"] = (theirs / ours, "x", "0.95 or more" if kind == "clone" else "")
    return figures


def jobs():
    """Jobs per second of a pipeline of 200 jobs that do nothing, on the embedded runner."""
    count = 200
    with measure.server() as server, tempfile.TemporaryDirectory() as scratch:
        token = server.token()
        api = server.api(token)
        work = pathlib.Path(scratch) / "work"
        work.mkdir()
        git("init", "-q", "-b", "main", cwd=work)
        text = "variables:\n  GIT_STRATEGY: none\n" + "".join(f"job-{it}:\n  script: ['true']\n" for it in range(count))
        commit_file(work, ".gitlab-ci.yml", text)
        begin = time.perf_counter()
        git("push", "-q", server.repository(token, "many"), "main", cwd=work)
        pipeline = wait_for_end(api, "root%2Fmany")
        elapsed = time.perf_counter() - begin
        assert pipeline["status"] == "success", pipeline
    return {"no-op jobs per second, sandboxed": (count / elapsed, "jobs/s", "")}


def memory():
    """Memory of the server while 50 clones of a 20 MB and of a 200 MB repository run at once."""
    peaks = {}
    with measure.server() as server, tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        token = server.token()
        for megabytes in (20, 200):
            source = scratch / f"source-{megabytes}"
            measure.make_repository(source, megabytes)
            git("push", "-q", server.repository(token, f"repo-{megabytes}"), "main", cwd=source)
            shutil.rmtree(source)
            with Sampler(server.process.pid) as sampler, concurrent.futures.ThreadPoolExecutor(50) as pool:
                def one(number):
                    target = scratch / f"clone-{number}"
                    git("clone", "-q", "--bare", server.repository(token, f"repo-{megabytes}"), target)
                    shutil.rmtree(target)
                list(pool.map(one, range(50)))
            peaks[megabytes] = (sampler.own, sampler.children)
    return {
        "server memory, 50 clones of 20 MB at once": (peaks[20][0] / MIB, "MiB", ""),
        "server memory, 50 clones of 200 MB at once": (peaks[200][0] / MIB, "MiB", ""),
        "its growth from 20 MB to 200 MB": (peaks[200][0] / peaks[20][0], "x", "about 1: flat"),
        "its git processes, 50 clones of 200 MB at once": (peaks[200][1] / MIB, "MiB", ""),
    }


class Sampler:
    """Samples the memory of a process, and that of its children together, 20 times a second; keeps the peaks."""

    def __init__(self, pid):
        self.pid, self.own, self.children, self.end = pid, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.end.wait(0.05):
            self.own = max(self.own, measure.resident_bytes(self.pid))
            total = 0
            for child in measure.descendants(self.pid):
                try:
                    total += measure.resident_bytes(child)
                except OSError:
                    pass  # It ended meanwhile.
            self.children = max(self.children, total)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


BENCHMARKS = {"start": start, "push": push, "jobs": jobs, "job": job.job, "pipelines": pipelines.pipelines, "handover": handover.handover, "planning": planning.planning, "budget": budget.budget, "cache": cache.cache, "clone": clone, "memory": memory}


def main():
    wanted = sys.argv[1:] or list(BENCHMARKS)
    unknown = [it for it in wanted if it not in BENCHMARKS]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; the benchmarks are {', '.join(BENCHMARKS)}")
    out = pathlib.Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    figures = {}
    for name in wanted:
        print(f"\n{name}: {BENCHMARKS[name].__doc__.strip()}", flush=True)
        for label, (value, unit, target) in BENCHMARKS[name]().items():
            figures[label] = {"value": round(value, 3), "unit": unit, "target": target}
            print(f"  {label:<55} {value:>10.2f} {unit:<7} {'to reach: ' + target if target else ''}", flush=True)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
