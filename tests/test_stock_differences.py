"""One pipeline on the stock GitLab Runner and on ours: it comes to the same."""

import io
import re
import zipfile

import pytest
from harness.stock import StockRunner, said
from harness.world import Run, World, plain

# What the server answers does not depend on the database; `test_protocol` asks on both.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True, scope="session")


PIPELINE = """
stages: [build, test, after]
variables:
  TOP: "top $OTHER"
  OTHER: other
  RAW: {value: "$OTHER", expand: false}
build:
  stage: build
  before_script: [mkdir -p out/deep reports]
  script:
    - echo "$TOP and $RAW in $CI_JOB_NAME of $CI_COMMIT_REF_NAME"
    - echo made > out/deep/file && echo no > out/deep/left-out && echo plain > extra
    - 'echo "VERSION=1.2.3" > build.env'
    - cp suite.xml reports/ && cp suite.xml reports/second.xml
    - 'echo "[]" > quality.json && echo "{}" > links.json'
  after_script:
    - 'echo "status $CI_JOB_STATUS"'
  artifacts:
    name: "$CI_JOB_NAME-$CI_COMMIT_REF_NAME"
    paths: [out]
    exclude: [out/deep/left-out]
    untracked: true
    expire_in: 1 day
    reports: {dotenv: build.env, junit: reports/*.xml, codequality: quality.json, annotations: links.json}
test:
  stage: test
  needs: [build]
  script: ['echo "version $VERSION"', cat out/deep/file, '! test -e out/deep/left-out']
alone:
  stage: test
  dependencies: []
  script: ['! test -e out', 'echo "version $VERSION"']
fails:
  stage: test
  script: ["echo soon", "(exit 42)", "echo never"]
  after_script: ['echo "status $CI_JOB_STATUS"', "exit 7"]
  allow_failure: {exit_codes: 42}
  artifacts: {when: on_failure, paths: [suite.xml]}
again:
  stage: test
  retry: {max: 1, exit_codes: [77]}
  script: ["echo trying", "exit 77"]
  allow_failure: true
many:
  stage: after
  parallel: 2
  variables: {GIT_STRATEGY: none}
  script: ['echo "$CI_NODE_INDEX of $CI_NODE_TOTAL"']
"""
FORMATS = [
    ("annotations", "gzip", "gl-annotations.json.gz"),
    ("archive", "zip", "build-main.zip"),
    ("codequality", "raw", "gl-code-quality-report.json"),
    ("dotenv", "gzip", ".env.gz"),
    ("junit", "gzip", "junit.xml.gz"),
]
SUITE = '<testsuite name="s"><testcase classname="c" name="good"/><testcase classname="c" name="bad"><failure message="no"/></testcase></testsuite>'


def outcome(run: Run) -> dict[str, dict[str, object]]:
    """What a pipeline came to, as far as it should be the same whoever ran it."""
    told: dict[str, dict[str, object]] = {}
    for job in run.jobs().values():
        log, archive = job.trace().decode(), None
        if getattr(job, "artifacts_file", None):
            archive = zipfile.ZipFile(io.BytesIO(job.artifacts()))
        told[job.name] = {
            "status": (job.status, getattr(job, "failure_reason", None), job.allow_failure),
            "script": said(log, "step_script"),
            "after_script": said(log, "after_script") if ":after_script" in log else [],
            "exit": re.findall(r"exit (?:code|status) (\d+)", plain(log))[-1:],
            "files": {it: archive.read(it) for it in archive.namelist() if not it.endswith("/")} if archive else {},
            "artifacts": sorted((it["file_type"], it["file_format"], it["filename"]) for it in job.attributes["artifacts"] if it["file_type"] not in ("trace", "metadata")),
        }
    suites = run.project.owner.get(f"/projects/{run.project.id}/pipelines/{run.id}/test_report").json()["test_suites"]
    told["tests"] = {it["name"]: (it["total_count"], it["failed_count"]) for it in suites}
    return told


def test_a_pipeline_comes_to_the_same_on_either_runner(world: World) -> None:
    files = {"suite.xml": SUITE}
    with StockRunner(world) as stock:
        theirs, ours = stock.ci(PIPELINE, files), world.ci(PIPELINE, files)
        theirs.end("success")
        ours.end("success")
    assert ours.job("build").runner["id"] != theirs.job("build").runner["id"] == stock.id
    found, expected = outcome(ours), outcome(theirs)
    made = expected["build"]["files"]
    assert (made["out/deep/file"], made["extra"], made["reports/second.xml"]) == (b"made\n", b"plain\n", SUITE.encode()) and "out/deep/left-out" not in made
    assert expected["build"]["artifacts"] == FORMATS
    fails = expected["fails"]
    assert (fails["status"], fails["exit"]) == (("failed", "script_failure", True), ["42"]) and "status failed" in fails["after_script"]
    assert "version 1.2.3" in expected["test"]["script"] and "version " in expected["alone"]["script"]
    assert expected["tests"] == {"build": (4, 2)}
    assert found.keys() == expected.keys()
    for name in expected:
        for what in expected[name]:
            assert found[name][what] == expected[name][what], f"{what} of {name}"
    tries = [it.name for run in (ours, theirs) for it in run.pipeline.jobs.list(get_all=True, include_retried=True)]
    assert tries.count("again") == 4, "both tried twice"
