"""`rave ci` without running anything: what the file of a working tree means, and why."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from harness.tree import Tree
from harness.world import unique

Make = Callable[..., Tree]

PIPELINE = """\
include: ci/base.yml
stages: [build, test, deploy]
variables: {MODE: root}
build: {stage: build, extends: .base}
test:
  stage: test
  needs: [build]
  script: [!reference [.base, script], make test]
  variables: {MODE: job}
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule"
      when: never
    - if: $TOKEN == "none of this"
    - changes: [src/**/*]
      when: manual
deploy:
  stage: deploy
  script: make deploy
  only: [tags]
matrix:
  stage: test
  script: echo $OS
  needs: []
  parallel: {matrix: [{OS: [a, b]}]}
  rules: [{if: $OS == "b"}]
"""
BASE = ".base:\n  script: [make]\n"


@pytest.fixture
def tree(scratch: Path) -> Make:
    def make(pipeline: str = PIPELINE, files: dict[str, str] | None = None, **options: bool) -> Tree:
        return Tree(scratch / unique("tree"), {".gitlab-ci.yml": pipeline, "ci/base.yml": BASE, **(files or {})}, **options)

    return make


@pytest.fixture
def web(scratch: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Serves a directory. Yields its address, the directory, and the paths that were asked for."""
    directory, asked = scratch / unique("web"), []
    directory.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", directory, asked
        server.shutdown()


def names(work: Tree, *arguments: str) -> list[str]:
    return [job["name"] for job in json.loads(work.ci("list", "--json", *arguments).must(0).out)]


def test_lists_depend_on_the_event_and_on_what_changed(tree: Make) -> None:
    work = tree()
    assert names(work, "--changes", "README") == ["build", "matrix: [b]"]
    assert names(work, "--changes", "src/a.c") == ["build", "test", "matrix: [b]"]
    assert names(work, "--event", "tag", "--ref", "v1") == ["build", "test", "matrix: [b]", "deploy"]
    assert names(work, "--event", "schedule") == ["build", "matrix: [b]"]
    # A merge request compares with its target, uncommitted and untracked files included, ignored ones not.
    work.git("checkout", "-q", "-b", "topic")
    work.write({".gitignore": "*.o\n", "src/x.o": ""})
    assert names(work) == ["build", "matrix: [b]"]
    work.write({"src/new.c": ""})
    assert names(work) == ["build", "test", "matrix: [b]"]
    table = work.ci("list").must(0).out
    assert re.search(r"^test\s+test\s+manual\s+build$", table, re.M), table
    assert "\x1b" not in table


def test_lint_says_what_is_wrong_and_where(tree: Make) -> None:
    work = tree("build:\n  scrip: make\n")
    failed = work.ci("lint").must(1)
    assert ".gitlab-ci.yml:1:1" in failed.out and "1 | build:" in failed.out and "not valid" in failed.out, failed.out
    found = json.loads(work.ci("lint", "--json").must(1).out)
    assert found["valid"] is False and found["errors"][0]["line"] == 1
    listed = work.ci("list").must(1)
    assert listed.out == "" and "is not valid" in listed.err
    work.write({".gitlab-ci.yml": PIPELINE})
    assert "is valid" in work.ci("lint").must(0).out
    work.ci("lint", "--event", "never").must(2)
    nothing = work.ci("lint", "--file", "none.yml").must(1)
    assert "none.yml" in nothing.err and "hint:" in nothing.err


def test_show_prints_the_merged_file(tree: Make) -> None:
    shown = tree().ci("show").must(0).out
    assert shown.startswith("---\n.base:\n  script:\n  - make\n")
    assert "build:\n  script:\n  - make\n  stage: build\n" in shown
    assert "include" not in shown and "!reference" not in shown


def test_explain_names_rules_values_and_places(tree: Make) -> None:
    work = tree(files={".rave-ci.env": "TOKEN=glpat-0123456789\n"})
    done = work.ci("explain", "test", "--changes", "src/a.c", "--variable", "MODE=given").must(0)
    for line in (
        "test: in the pipeline, when somebody starts it",
        "  because rule 3 holds",
        '       $CI_PIPELINE_SOURCE is "push" (predefined)',
        '       $TOKEN is "[redacted]" (project)',
        "     changes: src/**/*  yes: src/a.c matches",
        "  build (needs)",
        '  MODE = "given"  given with the event',
        '    hides "job" of job',
    ):
        assert line in done.out.splitlines(), f"{line!r} is missing in:\n{done.out}"
    assert re.search(r"partly ci/base.yml:2  from \.base", done.out), done.out
    left_out = json.loads(work.ci("explain", "deploy", "--json").must(0).out)["jobs"][0]
    assert left_out["included"] is False and left_out["verdict"] == "`only:refs` does not allow it"
    assert "glpat" not in work.ci("explain", "test", "--json").must(0).out
    missing = work.ci("explain", "tset").must(1)
    assert "there is no job tset" in missing.err and "did you mean `test`?" in missing.err
    overview = work.ci("explain", "--changes", "README").must(0).out
    assert re.search(r"^matrix: \[a\]\s+no\s+its only rule does not hold$", overview, re.M), overview


def test_graphs_are_text_mermaid_and_json(tree: Make) -> None:
    work = tree()
    arguments = ("--changes", "src/a.c")
    assert re.search(r"^  test\s+after build, manual$", work.ci("graph", *arguments).must(0).out, re.M)
    mermaid = work.ci("graph", "--mermaid", *arguments).must(0).out
    assert mermaid.startswith("flowchart LR\n") and 'j1["test"]' in mermaid and "j0 --> j1" in mermaid
    stages = json.loads(work.ci("graph", "--json", *arguments).must(0).out)["stages"]
    assert [it["name"] for it in stages] == ["build", "test"] and stages[1]["jobs"][0]["needs"] == ["build"]


def test_a_plan_is_compared_with_that_of_another_commit(tree: Make) -> None:
    work = tree()
    same = work.ci("plan", "--diff", "HEAD").must(0)
    assert "the same jobs" in same.out
    work.write({".gitlab-ci.yml": PIPELINE.replace("deploy:\n  stage: deploy", "ship:\n  stage: deploy").replace("only: [tags]", ""), "ci/base.yml": BASE + "  tags: [arm]\n"})
    diff = json.loads(work.ci("plan", "--diff", "HEAD", "--changes", "README", "--json").must(0).out)
    assert (diff["added"], diff["dropped"], [it["name"] for it in diff["changed"]]) == (["ship"], [], ["build"])
    text = work.ci("plan", "--diff", "HEAD", "--changes", "README").must(0).out
    assert "+ ship\n" in text and '    tags: [] -> ["arm"]\n' in text
    assert "there is no commit nowhere" in work.ci("plan", "--diff", "nowhere").must(1).err
    whole = json.loads(work.ci("plan", "--json").must(0).out)
    assert whole["outcome"]["pipeline"]["stages"] == [".pre", "build", "test", "deploy", ".post"]
    assert "push on branch main" in work.ci("plan").must(0).out


def test_an_unchanged_plan_is_used_again_and_a_changed_one_is_not(tree: Make) -> None:
    work = tree()
    arguments = ("--changes", "src/a.c")
    first = work.ci("list", *arguments).must(0).out
    assert work.ci("list", *arguments).must(0).out == first == work.ci("list", "--no-cache", *arguments).must(0).out
    kept = list((work.base / "home").rglob("rave/plans/*"))
    assert kept, "the plan is kept"
    work.write({"ci/base.yml": BASE + "  when: manual\n"})
    assert re.search(r"^build\s+build\s+manual", work.ci("list", *arguments).must(0).out, re.M)
    assert "test" not in names(work, "--changes", "README")


def test_files_of_other_projects_and_servers(tree: Make, web: tuple[str, Path, list[str]]) -> None:
    address, served, asked = web
    (served / "remote.yml").write_text("far: {script: far}\n")
    work = tree(f"include:\n  - remote: {address}/remote.yml\n  - {{project: team/shared, file: /jobs.yml}}\nhere: {{script: here}}\n")
    other = Tree(work.base.parent / unique("shared"), {"jobs.yml": "shared: {script: shared}\n"})
    unknown = work.ci("list").must(1)
    assert "--project team/shared=DIR" in unknown.err, unknown.err
    mapped = ("--project", f"team/shared={other.directory}")
    assert names(work, *mapped) == ["far", "shared", "here"]
    count = len(asked)
    assert count >= 1
    # The second look needs no network, and without a cache there is none to be had.
    assert names(work, "--no-cache", "--offline", *mapped) == ["far", "shared", "here"] and len(asked) == count
    work.write({".gitlab-ci.yml": f"include: {address}/other.yml\nhere: {{script: here}}\n"})
    refused = work.ci("list", "--offline").must(1)
    assert "--offline" in refused.err and len(asked) == count


def test_it_works_below_the_top_and_without_a_repository(tree: Make, scratch: Path) -> None:
    work = tree(files={"deep/down/file": ""})
    assert names(work, "-C", "deep/down", "--changes", "x") == names(work, "--changes", "x")
    plain = scratch / unique("plain")
    plain.mkdir()
    (plain / ".gitlab-ci.yml").write_text("job: {script: x, rules: [{exists: [a/*.txt]}]}\n")
    assert names(work, "-C", str(plain)) == []
    (plain / "a").mkdir()
    (plain / "a" / "b.txt").write_text("")
    assert names(work, "-C", str(plain)) == ["job"]


def test_a_reader_that_has_seen_enough_is_no_failure(tree: Make) -> None:
    work = tree("".join(f"job-{number}: {{script: x}}\n" for number in range(1500)))
    with work.start("list") as process:
        assert process.stdout
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 0
