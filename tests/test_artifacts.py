"""Files between jobs and for people: artifacts and caches."""

import io
import re
import zipfile

from harness.world import World


def test_artifacts_reach_later_jobs_and_people(world: World) -> None:
    yaml = """
stages: [build, test]
build:
  stage: build
  script: [mkdir -p out/deep, echo one > out/one, echo two > out/deep/two.txt, echo no > out/deep/skip.log, ln -s one out/link, chmod 755 out/one]
  artifacts: {name: results, paths: [out/], exclude: ["out/**/*.log"], expire_in: 1 week}
other:
  stage: build
  script: [mkdir out, echo other > out/other]
  artifacts: {paths: [out]}
all:
  stage: test
  script: [find out -type f | sort, test -x out/one, test "$(readlink out/link)" = one]
chosen:
  stage: test
  dependencies: [build]
  script: [test -e out/deep/two.txt, test ! -e out/other]
none:
  stage: test
  dependencies: []
  script: test ! -e out
needed:
  stage: test
  needs: [{job: other, artifacts: true}, {job: build, artifacts: false}]
  script: [test -e out/other, test ! -e out/one]
"""
    run = world.ci(yaml).end("success")
    assert re.search(r"out/deep/two.txt\nout/one\nout/other\n", run.trace("all").replace("\r", ""))
    build = run.job("build")
    assert build.artifacts_file["filename"] == "results.zip" and build.artifacts_expire_at
    with zipfile.ZipFile(io.BytesIO(build.artifacts())) as archive:
        names = {it for it in archive.namelist() if not it.endswith("/")}
        assert names == {"out/one", "out/deep/two.txt", "out/link"} and archive.read("out/one") == b"one\n"
    assert build.artifact("out/deep/two.txt") == b"two\n"
    latest = run.project.gitlab.artifacts
    assert latest.raw("main", "out/one", "build") == b"one\n" and latest.download("main", "build") == build.artifacts()
    root = world.root
    for path in ("out/absent", "../../../etc/passwd", "out/deep/skip.log", "out"):
        answer = root.get(f"/projects/{run.project.id}/jobs/{build.id}/artifacts/{path}")
        assert answer.status_code in (400, 404), f"{path}: {answer.status_code}"


def test_artifacts_when_says_when(world: World) -> None:
    yaml = """
failed:
  script: [echo log > log, exit 1]
  artifacts: {when: on_failure, paths: [log]}
always:
  script: [echo log > log, exit 1]
  artifacts: {when: always, paths: [log]}
success:
  script: [echo log > log, exit 1]
  artifacts: {paths: [log]}
"""
    run = world.ci(yaml).end("failed")
    found = {name: bool(getattr(job, "artifacts_file", None)) for name, job in run.jobs().items()}
    assert found == {"failed": True, "always": True, "success": False}


def test_a_cache_is_there_the_second_time(world: World) -> None:
    yaml = """
work:
  cache: {key: "$CI_COMMIT_REF_SLUG", paths: [.cache/]}
  script:
    - cat .cache/seen || echo "nothing" "yet"
    - mkdir -p .cache
    - echo "made by $CI_PIPELINE_IID" >> .cache/seen
"""
    first = world.ci(yaml).end("success")
    assert "nothing yet" in first.trace("work")
    second = first.project.push_ci(yaml + "# again\n").end("success")
    assert "made by 1" in second.trace("work") and "nothing yet" not in second.trace("work")
    third = first.project.push_ci(yaml.replace("paths", "policy: pull, paths") + "# more\n").end("success")
    assert "made by 2" in third.trace("work")
    other = first.project.push_ci(yaml.replace('"$CI_COMMIT_REF_SLUG"', "another")).end("success")
    assert "nothing yet" in other.trace("work")
