"""What pipelines find out: reports that jobs upload are counted, compared, shown and answered, whatever is in them."""

import json
from collections.abc import Iterator

import pytest
import requests
from harness.browser import Visitor, launch, visitor
from harness.gate import Gates
from harness.wait import wait_for
from harness.world import Project, Run, World, unique
from playwright.sync_api import Browser, Page, expect, sync_playwright

PHONE = {"width": 390, "height": 844}

YAML = """
stages: [test, check]
unit:
  stage: test
  coverage: '/^TOTAL .* (\\d+)%$/'
  script:
    - echo "TOTAL 12 3 75%"
    - mkdir -p manual && echo "<h1>Manual</h1>" > manual/index.html
  artifacts:
    expose_as: The manual
    paths: [manual/index.html]
    reports:
      junit: [reports/*.xml]
      coverage_report: {coverage_format: cobertura, path: reports/coverage/cobertura.xml}
lint:
  stage: check
  script: echo
  artifacts:
    reports: {codequality: reports/quality.json, sast: reports/sast.json, annotations: reports/links.json}
"""


def suite(**outcomes: str) -> str:
    """A JUnit file with these tests: empty for one that passes, else why it fails."""
    cases = ""
    for name, why in outcomes.items():
        failure = f'<failure message="{why}">{why}\nat cart.py:3</failure>' if why else ""
        cases += f'<testcase classname="shop.Cart" name="{name}" time="0.25" file="./src/cart.py" line="3">{failure}</testcase>\n'
    return f'<?xml version="1.0"?><testsuites><testsuite name="cart">{cases}</testsuite></testsuites>'


COBERTURA = """<?xml version="1.0"?><coverage><sources><source>/builds/x/src</source></sources><packages><package><classes>
<class filename="cart.py"><lines><line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="0"/><line number="4" hits="1"/></lines></class>
</classes></package></packages></coverage>"""
QUALITY = [{"description": "Name is too long", "check_name": "naming", "severity": "minor", "fingerprint": "q1", "location": {"path": "src/cart.py", "lines": {"begin": 2}}}]
SAST = {
    "version": "15.0.0",
    "vulnerabilities": [
        {"name": "Command injection", "severity": "Critical", "description": "The shell sees user input.", "solution": "Quote it.",
         "identifiers": [{"type": "cwe", "name": "CWE-78", "value": "78", "url": "https://cwe.mitre.org/data/definitions/78.html"}],
         "location": {"file": "src/cart.py", "start_line": 4}},
    ],
}
LINKS = {"Previews": [{"external_link": {"label": "The preview", "url": "https://preview.example.org/"}}]}
FILES = {
    "src/cart.py": "one\ntwo\nthree\nfour\n",
    "reports/coverage/cobertura.xml": COBERTURA,
    "reports/quality.json": json.dumps(QUALITY),
    "reports/sast.json": json.dumps(SAST),
    "reports/links.json": json.dumps(LINKS),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        it = launch(playwright)
        yield it
        it.close()


@pytest.fixture(scope="module")
def shop(world: World) -> tuple[Project, Run, Run]:
    """A project with two pipelines: in the second one test more fails, and another is mended."""
    project = world.project(world.account("merchant"))
    first = project.push_ci(YAML, {**FILES, "reports/a.xml": suite(adds="", pays="no money"), "reports/b.xml": suite(ships="")}).end("success")
    second = project.push_ci(YAML, {"reports/a.xml": suite(adds="two plus two", pays="")}).end("success")
    return project, first, second


def test_stock_clients_read_the_test_report(shop: tuple[Project, Run, Run]) -> None:
    _, first, second = shop
    report = first.pipeline.test_report.get()
    assert (report.total_count, report.success_count, report.failed_count, report.error_count, report.skipped_count) == (3, 2, 1, 0, 0)
    assert report.total_time == 0.75
    (suite_,) = report.test_suites
    assert (suite_["name"], suite_["total_count"], suite_["suite_error"]) == ("unit", 3, None)
    case = suite_["test_cases"][0]
    assert (case["name"], case["classname"], case["status"], case["file"]) == ("pays", "shop.Cart", "failed", "src/cart.py")
    assert case["system_output"] == "no money\nat cart.py:3" and case["execution_time"] == 0.25
    summary = second.pipeline.test_report_summary.get()
    assert summary.total["count"] == 3 and summary.total["failed"] == 1
    assert summary.test_suites[0]["build_ids"] == [second.job("unit").id]


def test_coverage_is_found_in_the_log_and_in_reports(shop: tuple[Project, Run, Run]) -> None:
    project, first, _ = shop
    job = wait_for("the job's coverage", lambda: first.job("unit") if first.job("unit").coverage else None)
    assert job.coverage == 75.0
    assert first.job("lint").coverage is None
    assert first.pipeline.coverage == "75.00"
    badge = requests.get(f"{project.url}/-/badges/main/coverage.svg?job=unit", headers={"PRIVATE-TOKEN": project.owner.token}, timeout=30)
    assert badge.status_code == 200 and "75.00%" in badge.text and badge.headers["Content-Type"].startswith("image/svg+xml"), badge.text
    report = project.owner.get(f"/projects/{project.id}/pipelines/{first.id}/coverage_report").json()
    assert (report["coverage"], report["lines"], report["covered"]) == (75.0, 4, 2)
    assert report["files"] == [{"path": "src/cart.py", "lines": 4, "covered": 2, "percentage": 50.0, "missed": "2-3"}]


def test_findings_are_listed_worst_first_and_compared(shop: tuple[Project, Run, Run]) -> None:
    project, first, second = shop
    address = f"/projects/{project.id}/pipelines"
    found = project.owner.get(f"{address}/{first.id}/findings").json()
    assert [(it["kind"], it["severity"], it["title"], it["state"]) for it in found] == [
        ("sast", "critical", "Command injection", None),
        ("codequality", "low", "Name is too long", None),
    ]
    assert found[0]["location"] == {"path": "src/cart.py", "line": 4} and found[0]["identifier"] == "CWE-78"
    later = project.owner.get(f"{address}/{second.id}/findings", params={"kind": "sast", "state": "existing"})
    assert [it["title"] for it in later.json()] == ["Command injection"] and later.headers["X-Total"] == "1"
    assert project.owner.get(f"{address}/{second.id}/findings?state=new").json() == []


def test_reports_can_be_downloaded(shop: tuple[Project, Run, Run]) -> None:
    project, first, _ = shop
    job = first.job("lint")
    session = project.owner.sign_in()
    answer = session.get(f"{project.url}/-/jobs/{job.id}/artifacts/download?file_type=codequality", timeout=30)
    assert answer.status_code == 200 and answer.json() == QUALITY


def test_a_report_that_is_none_is_a_note_on_the_job(world: World, browser: Browser) -> None:
    run = world.ci(
        "unit:\n  script: ['echo \"<html>\" > r.xml', 'echo \"{\" > s.json']\n  artifacts: {reports: {junit: r.xml, sast: s.json}}\n", owner=world.account("clumsy")
    ).end("success")
    report = run.pipeline.test_report.get()
    assert report.total_count == 0 and "cannot be read" in report.test_suites[0]["suite_error"]
    with visitor(browser, world.server.url) as it:
        sign_in(it, run.project)
        page = it.visit(run.job("unit").web_url)
        expect(page.get_by_text("It cannot be read").first).to_be_visible()
        page = it.visit(f"{run.project.url}/-/pipelines/{run.id}/test_report")
        expect(page.get_by_role("status")).to_contain_text("cannot be read")


def test_a_waiting_job_says_why(world: World) -> None:
    run = world.ci("stages: [one, two]\nfirst: {stage: one, tags: [no-such-runner], script: echo}\nsecond: {stage: two, script: echo}\nby_hand: {stage: two, when: manual, script: echo}\n")
    waits = run.wait_for_job("first", "pending").waits_for
    assert waits["reason"] == "runner" and "no-such-runner" in waits["message"]
    waits = run.job("second").waits_for
    assert (waits["reason"], waits["stages"], [it["name"] for it in waits["jobs"]]) == ("stages", ["one"], ["first"])
    run.pipeline.cancel()
    assert run.wait_for_job("second", "skipped", "canceled").waits_for is None


@pytest.fixture
def reader(browser: Browser, world: World, shop: tuple[Project, Run, Run]) -> Iterator[Visitor]:
    with visitor(browser, world.server.url) as it:
        sign_in(it, shop[0])
        yield it


def sign_in(it: Visitor, project: Project) -> None:
    it.sign_in(project.owner)


def test_a_person_finds_what_broke(reader: Visitor, shop: tuple[Project, Run, Run]) -> None:
    project, first, second = shop
    page = reader.visit(second.pipeline.web_url)
    tabs = page.get_by_role("navigation", name="Pipeline", exact=True)
    expect(tabs.get_by_role("link", name="Tests")).to_contain_text("1 of 3")
    expect(tabs.get_by_role("link", name="Coverage")).to_contain_text("75%")
    tabs.get_by_role("link", name="Tests").click()
    expect(page.get_by_text(f"Compared with pipeline #{first.id}: 1 newly failing, 1 fixed.")).to_be_visible()
    failing = page.locator("details.test").first
    expect(failing).to_contain_text("adds")
    expect(failing.locator(".tag.new")).to_be_visible()
    expect(failing.get_by_text("two plus two").first).not_to_be_visible()
    failing.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(failing.locator("pre").first).to_contain_text("two plus two")
    failing.get_by_role("link", name="src/cart.py:3").click()
    page.wait_for_url(f"**/-/blob/{second.pipeline.sha}/src/cart.py#L3")
    page.go_back()
    page.get_by_role("link", name="Fixed").click()
    expect(page.locator(".test")).to_have_count(1)
    expect(page.locator(".test")).to_contain_text("pays")
    page.get_by_label("Find a test").fill("nothing like it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No such tests")).to_be_visible()


def test_findings_coverage_and_artifacts_lead_to_the_code(reader: Visitor, shop: tuple[Project, Run, Run]) -> None:
    _, _, second = shop
    page = reader.visit(second.pipeline.web_url)
    page.get_by_role("link", name="The manual").click()
    expect(page.locator("body")).to_contain_text("<h1>Manual</h1>")
    page.go_back()
    tabs = page.get_by_role("navigation", name="Pipeline", exact=True)
    tabs.get_by_role("link", name="Findings").click()
    finding = page.locator("details.finding").first
    expect(finding).to_contain_text("critical")
    finding.locator("summary .title").click()
    expect(finding.get_by_text("The shell sees user input.")).to_be_visible()
    expect(finding.get_by_role("link", name="src/cart.py:4")).to_have_attribute("href", f"/{second.project.path}/-/blob/{second.pipeline.sha}/src/cart.py#L4")
    tabs.get_by_role("link", name="Coverage").click()
    row = page.get_by_role("row").filter(has_text="src/cart.py")
    expect(row).to_contain_text("50%")
    expect(row).to_contain_text("2-3")
    page = reader.visit(second.job("lint").web_url)
    expect(page.get_by_role("link", name="The preview")).to_have_attribute("href", "https://preview.example.org/")


@pytest.mark.parametrize("tail", ["", "/builds", "/test_report", "/findings", "/coverage", "/reports"])
def test_pages_fit_a_phone(browser: Browser, world: World, shop: tuple[Project, Run, Run], tail: str) -> None:
    project, _, second = shop
    with visitor(browser, world.server.url, viewport=PHONE) as it:
        sign_in(it, project)
        page = it.visit(second.pipeline.web_url + tail)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_graph_is_used_by_keyboard(browser: Browser, world: World) -> None:
    run = world.ci(
        """
stages: [one, two]
part: {stage: one, parallel: 3, script: echo}
other: {stage: one, script: echo}
after: {stage: two, needs: [part], script: echo}
by_hand: {stage: two, when: manual, needs: [other], script: echo}
""",
        owner=world.account("typist"),
    ).end("success")
    with visitor(browser, world.server.url) as it:
        sign_in(it, run.project)
        page = it.visit(run.pipeline.web_url)
        expect(page.locator("svg path.edge")).to_have_count(2)
        group = page.locator(".node.group button")
        expect(group).to_contain_text("3")
        members = page.get_by_role("dialog", name="part")
        expect(members).not_to_be_visible()
        group.focus()
        expect(page.locator(".node.on")).to_have_count(2)
        expect(page.locator("path.edge.on")).to_have_count(1)
        page.keyboard.press("Enter")
        expect(members.get_by_role("link", name="part 2/3")).to_be_visible()
        page.keyboard.press("Escape")
        expect(members).not_to_be_visible()
        page.get_by_role("button", name="Start by_hand").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/-/pipelines/*")
        expect(page.locator("#pipeline-head .status")).to_contain_text("passed")
        run.wait_for_job("by_hand", "success")


def test_the_graph_follows_jobs_and_their_reasons_live(browser: Browser, world: World, gates: Gates) -> None:
    word = unique("waits")
    run = world.ci(f"stages: [one, two]\nslow: {{stage: one, script: '{gates.wait_command(word)}'}}\nlater: {{stage: two, script: echo}}\n", owner=world.account("watcher"))
    with visitor(browser, world.server.url) as it:
        sign_in(it, run.project)
        page: Page = it.visit(run.pipeline.web_url)
        expect(page.locator("#node-1 .why")).to_contain_text("Waits for stage one: slow")
        page.evaluate("window.neverReloaded = true")
        gates.open(word)
        expect(page.locator("#node-1.is-success")).to_be_visible()
        expect(page.locator("#node-1 .why")).to_have_count(0)
        expect(page.locator("#stage-2 .status")).to_have_attribute("title", "passed")
        assert page.evaluate("window.neverReloaded") is True


def test_results_go_with_their_job_and_pipeline(world: World) -> None:
    project = world.project()
    run = project.push_ci("unit:\n  script: cp r.xml out.xml\n  artifacts: {reports: {junit: out.xml}}\n", {"r.xml": suite(a="")}).end("success")
    assert run.pipeline.test_report.get().total_count == 1
    run.job("unit").erase()
    assert run.pipeline.test_report.get().total_count == 0
    run.pipeline.delete()
    assert project.owner.get(f"/projects/{project.id}/pipelines/{run.id}/test_report").status_code == 404
