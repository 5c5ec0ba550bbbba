"""The runner's protocol as a stock GitLab runner speaks it, call by call."""

import io
import threading
import time
import zipfile
import zlib

import pytest
import requests
from harness import secrets
from harness.wait import wait_for
from harness.world import Run, World, unique

INFO = {"name": "stock", "version": "19.4.0", "platform": "linux", "architecture": "amd64", "executor": "docker"}
FEATURES = ("variables", "artifacts", "cache", "refspecs", "masking", "raw_variables", "artifacts_exclude", "multi_build_steps", "return_exit_code")
MORE = ("trace_reset", "trace_checksum", "trace_size", "cancelable", "cancel_gracefully", "two_phase_job_commit", "upload_multiple_artifacts", "upload_raw_artifacts")


class Stock:
    """A runner that takes jobs with a tag of its own and does what the test says."""

    def __init__(self, world: World):
        self.world = world
        self.tag = unique("stock")
        made = world.root.post("/user/runners", json={"runner_type": "instance_type", "tag_list": [self.tag], "run_untagged": False})
        assert made.status_code == 201, made.text
        self.id, self.token = made.json()["id"], secrets.note(made.json()["token"])
        self.info = {**INFO, "features": dict.fromkeys(FEATURES + MORE, True)}
        self.last_update = ""

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        return requests.request(method, f"{self.world.server.url}/api/v4{path}", timeout=70, **options)

    def request(self, **more: object) -> requests.Response:
        body = {"info": self.info, "token": self.token, "system_id": "s_0123456789ab", "last_update": self.last_update, **more}
        answer = self.ask("POST", "/jobs/request", json=body)
        self.last_update = answer.headers.get("X-GitLab-Last-Update", self.last_update)
        return answer

    def take(self) -> dict:
        """Asks until there is a job, as runners do, and says that it has begun."""
        found = wait_for("a job", lambda: next((it for it in [self.request(last_update="")] if it.status_code == 201), None))
        job = found.json()
        secrets.note(job["token"])
        assert self.update(job, "running").status_code == 200
        return job

    def update(self, job: dict, state: str, trace: bytes = b"", **more: object) -> requests.Response:
        output = {"checksum": f"crc32:{zlib.crc32(trace):08x}", "bytesize": len(trace)}
        return self.ask("PUT", f"/jobs/{job['id']}", json={"info": self.info, "token": job["token"], "state": state, "output": output, **more})

    def append(self, job: dict, start: int, text: bytes) -> requests.Response:
        headers = {"JOB-TOKEN": job["token"], "Content-Type": "text/plain", "Content-Range": f"{start}-{start + len(text) - 1}"}
        return self.ask("PATCH", f"/jobs/{job['id']}/trace", data=text, headers=headers)

    def upload(self, job: dict, content: bytes, name: str = "artifacts.zip", **query: str) -> requests.Response:
        query = {"artifact_format": "zip", "artifact_type": "archive", **query}
        return self.ask("POST", f"/jobs/{job['id']}/artifacts", params=query, headers={"JOB-TOKEN": job["token"]}, files={"file": (name, content)})

    def finish(self, job: dict, state: str, trace: bytes = b"", **more: object) -> None:
        """Reports the end until it is applied."""
        wait_for("the result to be taken", lambda: self.update(job, state, trace, **more).status_code == 200)


@pytest.fixture
def stock(world: World) -> Stock:
    return Stock(world)


def push(stock: Stock, more: str = "") -> Run:
    return stock.world.ci(f"work:\n  tags: [{stock.tag}]\n  script: [make]\n{more}")


def zipped(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def test_a_job_has_what_a_stock_runner_needs(stock: Stock) -> None:
    more = "  before_script: [first]\n  after_script: [last]\n  timeout: 10 minutes\n  image: alpine\n  variables: {A: b}\n  artifacts: {paths: [out]}\n  cache: {key: k, paths: [c]}\n"
    run = push(stock, more)
    job = stock.take()
    assert isinstance(job["id"], int) and job["token"] and job["allow_git_fetch"] is True
    info, git = job["job_info"], job["git_info"]
    assert (info["name"], info["stage"], info["pipeline_id"], info["project_id"]) == ("work", "test", run.id, run.project.id)
    assert (git["sha"], git["ref"], git["ref_type"], git["depth"]) == (run.project.work.head(), "main", "branch", 20)
    assert f"+refs/pipelines/{run.id}:refs/pipelines/{run.id}" in git["refspecs"] and "+refs/heads/main:refs/remotes/origin/main" in git["refspecs"]
    assert git["repo_url"].startswith(f"http://gitlab-ci-token:{job['token']}@")
    assert [(it["name"], it["script"]) for it in job["steps"]] == [("script", ["first", "make"]), ("after_script", ["last"])]
    assert job["steps"][1]["when"] == "always" and job["steps"][1]["allow_failure"] is True
    assert job["runner_info"]["timeout"] == 600 and job["image"]["name"] == "alpine"
    variables = {it["key"]: it for it in job["variables"]}
    assert variables["A"]["value"] == "b" and variables["CI_JOB_TOKEN"]["masked"] and not variables["CI_JOB_TOKEN"]["public"]
    assert (job["artifacts"][0]["paths"], job["artifacts"][0]["artifact_format"]) == (["out"], "zip")
    assert job["cache"][0]["paths"] == ["c"] and job["cache"][0]["policy"] == "pull-push"
    assert "run" not in job, "the stock runner refuses a job whose steps are null"
    assert job["features"]["trace_sections"] is True and "script_failure" in job["features"]["failure_reasons"]
    stock.finish(job, "success")
    run.end("success")


def test_a_request_is_held_until_there_is_a_job(stock: Stock) -> None:
    idle = stock.request()
    assert idle.status_code == 204 and idle.headers["X-GitLab-Last-Update"]
    answers: list[tuple[requests.Response, float]] = []

    def hold() -> None:
        start = time.monotonic()
        answers.append((stock.request(), time.monotonic() - start))

    thread = threading.Thread(target=hold)
    thread.start()
    run = push(stock)
    thread.join(30)
    assert answers and answers[0][1] < 30, "the held request ends when a job comes"
    # Stock runners ask again after 204; either is right.
    found = answers[0][0]
    job = found.json() if found.status_code == 201 else stock.take()
    secrets.note(job["token"])
    stock.finish(job, "success")
    run.end("success")


def test_the_log_is_sent_in_ranges(stock: Stock) -> None:
    run = push(stock)
    job = stock.take()
    text = b"one\ntwo \xc3\xbc\nthree\n"
    first = stock.append(job, 0, text[:6])
    assert first.status_code == 202 and first.headers["Range"] == "0-6" and first.headers["Job-Status"] == "running"
    for start in (0, 3, 9):
        wrong = stock.append(job, start, text[start:])
        assert wrong.status_code == 416 and wrong.headers["Range"] == "0-6"
    rest = stock.append(job, 6, text[6:])
    assert rest.status_code == 202 and rest.headers["Range"] == f"0-{len(text)}"
    assert run.job("work").trace() == text
    no_range = stock.ask("PATCH", f"/jobs/{job['id']}/trace", data=b"x", headers={"JOB-TOKEN": job["token"]})
    assert no_range.status_code == 400
    stranger = stock.ask("PATCH", f"/jobs/{job['id']}/trace", data=b"x", headers={"JOB-TOKEN": "glcbt-wrong", "Content-Range": "0-0"})
    assert stranger.status_code == 403
    stock.finish(job, "success", text)
    run.end("success")
    assert run.job("work").trace() == text
    late = stock.append(job, len(text), b"late")
    assert late.status_code == 403 and late.headers["Job-Status"] == "success"


def test_results_carry_reason_and_exit_code(stock: Stock) -> None:
    run = push(stock, "  allow_failure: {exit_codes: [42]}\n")
    job = stock.take()
    stock.finish(job, "failed", failure_reason="script_failure", exit_code=42)
    run.end("success")
    work = run.job("work")
    assert (work.status, work.failure_reason, work.allow_failure) == ("failed", "script_failure", True)
    assert stock.update(job, "success").status_code == 403, "a result is final"
    assert run.job("work").status == "failed"


def test_artifacts_are_uploaded_once(stock: Stock) -> None:
    yaml = f"""
stages: [build, test]
build: {{stage: build, tags: [{stock.tag}], script: [make], artifacts: {{paths: [a]}}}}
test: {{stage: test, tags: [{stock.tag}], script: [check]}}
"""
    run = stock.world.ci(yaml)
    build = stock.take()
    content = zipped(a="one")
    assert stock.upload(build, content).status_code == 201
    assert stock.upload(build, content).status_code == 201, "the same again is a repetition"
    assert stock.upload(build, zipped(a="two")).status_code == 400
    assert stock.upload(build, b"x", artifact_type="junit", artifact_format="zip").status_code == 400, "the type decides the format"
    # The public `gitlab-runner` crate says what a file is behind it, in the form.
    form = {"file": ("quality.json", b"[]"), "artifact_format": (None, "raw"), "artifact_type": (None, "codequality"), "expire_in": (None, "1 day")}
    told = stock.ask("POST", f"/jobs/{build['id']}/artifacts", headers={"JOB-TOKEN": build["token"]}, files=form)
    assert told.status_code == 201 and told.json()["file_type"] == "codequality", told.text
    form = {"file": ("a", b"[]"), "artifact_type": (None, "junit"), "artifact_format": (None, "raw")}
    assert stock.ask("POST", f"/jobs/{build['id']}/artifacts", headers={"JOB-TOKEN": build["token"]}, files=form).status_code == 400
    two = [("file", ("a", b"1")), ("file", ("b", b"2")), ("artifact_type", (None, "sast"))]
    assert stock.ask("POST", f"/jobs/{build['id']}/artifacts", headers={"JOB-TOKEN": build["token"]}, files=two).status_code == 400
    stock.finish(build, "success")
    test = stock.take()
    assert stock.upload(build, content).status_code == 403, "the job is over"
    [dependency] = test["dependencies"]
    assert (dependency["id"], dependency["name"], dependency["artifacts_file"]["size"]) == (build["id"], "build", len(content))
    got = stock.ask("GET", f"/jobs/{build['id']}/artifacts", headers={"JOB-TOKEN": dependency["token"]}, params={"direct_download": "true"})
    assert got.status_code == 200 and got.content == content
    assert stock.ask("GET", f"/jobs/{build['id']}/artifacts").status_code in (401, 403)
    stock.finish(test, "success")
    run.end("success")


def test_a_cancel_reaches_the_runner_by_its_own_calls(stock: Stock) -> None:
    run = push(stock)
    job = stock.take()
    run.job("work").cancel()
    assert run.job("work").status == "canceling", "a runner that can tidies up"
    assert stock.append(job, 0, b"bye\n").headers["Job-Status"] == "canceling"
    assert stock.update(job, "running").headers["Job-Status"] == "canceling"
    stock.finish(job, "failed", b"bye\n", failure_reason="script_failure")
    run.wait_for_job("work", "canceled")
    assert stock.update(job, "running").headers.get("Job-Status") == "canceled"


def test_a_runner_with_a_wrong_token_is_refused(stock: Stock) -> None:
    assert stock.request(token=secrets.note("glrt-" + "z" * 32)).status_code == 403
    assert stock.ask("POST", "/runners/verify", json={"token": "glrt-no"}).status_code == 403
    verified = stock.ask("POST", "/runners/verify", json={"token": stock.token, "system_id": "s_0123456789ab", "info": stock.info})
    assert verified.status_code == 200 and verified.json()["id"] == stock.id
    job_of_others = stock.update({"id": 1, "token": stock.token}, "success")
    assert job_of_others.status_code == 403


def test_a_paused_runner_gets_nothing(stock: Stock) -> None:
    run = push(stock)
    stock.world.root.request("PUT", f"/runners/{stock.id}", json={"paused": True})
    assert stock.request(last_update="").status_code == 204
    stock.world.root.request("PUT", f"/runners/{stock.id}", json={"paused": False})
    stock.finish(stock.take(), "success")
    run.end("success")
