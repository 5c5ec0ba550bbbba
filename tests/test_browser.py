"""What people do in a browser: claim, sign in, make a project, watch a log arrive, take an artifact, try again."""

import base64
import zipfile
from collections.abc import Callable, Iterator

import pytest
from harness import secrets
from harness.browser import Visitor, launch, visitor
from harness.gate import Gates
from harness.git import Work
from harness.server import Server
from harness.world import Account, World, unique
from playwright.sync_api import Browser, Page, expect, sync_playwright

Make = Callable[..., Server]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        it = launch(playwright)
        yield it
        it.close()


@pytest.fixture
def guest(browser: Browser, world: World) -> Iterator[Visitor]:
    with visitor(browser, world.server.url) as it:
        yield it


@pytest.fixture
def somebody(guest: Visitor, world: World) -> tuple[Visitor, Account]:
    account = world.account("ada")
    guest.sign_in(account)
    return guest, account


def test_claim_the_instance(browser: Browser, own_server: Make) -> None:
    server = own_server().start(with_password=False)
    assert server.claim
    with visitor(browser, server.url) as it:
        page = it.visit(server.claim)
        page.get_by_label("Password").first.fill(server.admin_password)
        page.get_by_role("button", name="Set password").click()
        page.wait_for_url(server.url + "/")
        expect(page.get_by_text("root").first).to_be_visible()
        page.get_by_label("Account").click()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/-/login")
        it.sign_in(Account(server, "root", "", server.admin_password))


def test_a_wrong_password_is_told_and_the_name_kept(guest: Visitor, world: World) -> None:
    page = guest.visit("/-/login")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("wrong wrong wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    expect(page.get_by_label("User name")).to_have_value("ada")


def test_from_a_new_project_to_a_live_log_an_artifact_and_a_retry(somebody: tuple[Visitor, Account], world: World, gates: Gates) -> None:
    visitor, ada = somebody
    page = visitor.page
    name = unique("shop")
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Name", exact=False).first.fill(name)
    page.get_by_role("button", name="Create").click()
    page.wait_for_url(f"**/{ada.username}/{name}")
    expect(page.get_by_text(f"{ada.username}/{name}.git").first).to_be_visible()

    word = unique("watch")
    work = Work.init(world.directory("shop") / "repo", ada.remote(f"{ada.username}/{name}"))
    script = f"[echo the first line, echo result > result.txt, {gates.wait_command(word)}, echo the last line]"
    work.commit({".gitlab-ci.yml": f"work:\n  script: {script}\n  artifacts: {{paths: [result.txt]}}\n", "README.md": f"# Welcome to {name}\n"})
    work.push("origin", "main")
    page.reload()
    expect(page.get_by_role("heading", name=f"Welcome to {name}")).to_be_visible()

    page.get_by_role("navigation", name="Project").get_by_role("link", name="Pipelines").click()
    page.locator("main a[href*='/-/pipelines/']:not([href$='/new'])").first.click()
    page.wait_for_url("**/-/pipelines/*")
    page.locator("main a[href*='/-/jobs/']").first.click()
    page.wait_for_url("**/-/jobs/*")
    expect(page.get_by_text("the first line", exact=True)).to_be_visible()
    page.evaluate("window.neverReloaded = true")
    assert page.get_by_text("the last line", exact=True).count() == 0
    gates.open(word)
    expect(page.get_by_text("the last line", exact=True)).to_be_visible()
    expect(page.locator("#job-head .status")).to_contain_text("passed")
    assert page.evaluate("window.neverReloaded") is True, "the log arrives without a reload"

    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.read("result.txt") == b"result\n"
    page.get_by_role("link", name="Browse").first.click()
    expect(page.get_by_text("result.txt").first).to_be_visible()
    page.go_back()

    first = page.url
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: "/-/jobs/" in url and url != first)
    expect(page.locator("#job-head .status")).to_contain_text("passed")


def test_a_pipeline_page_follows_its_jobs_live(somebody: tuple[Visitor, Account], world: World, gates: Gates) -> None:
    visitor, ada = somebody
    word = unique("graph")
    run = world.ci(
        f"stages: [one, two]\nfirst:\n  stage: one\n  script: {gates.wait_command(word)}\nsecond:\n  stage: two\n  script: echo\n  when: manual\n", owner=ada
    )
    page = visitor.visit(run.pipeline.web_url)
    expect(page.locator("#pipeline-head .status")).to_contain_text("running")
    page.evaluate("window.neverReloaded = true")
    gates.open(word)
    expect(page.locator("#pipeline-head .status")).to_contain_text("passed")
    assert page.evaluate("window.neverReloaded") is True
    page.get_by_role("button", name="Start").first.click()
    run.wait_for_job("second", "success")
    page.goto(run.pipeline.web_url)
    expect(page.get_by_role("main")).to_contain_text("second")


def test_a_search_in_the_log_leaves_what_was_looked_for(somebody: tuple[Visitor, Account], world: World) -> None:
    visitor, ada = somebody
    run = world.ci("work:\n  script: [echo needle in here, echo only hay]\n", owner=ada).end("success")
    page = visitor.visit(run.job("work").web_url)
    expect(page.get_by_text("only hay", exact=True)).to_be_visible()
    page.locator("input[data-filter]").fill("needle")
    expect(page.get_by_text("needle in here", exact=True)).to_be_visible()
    expect(page.get_by_text("only hay", exact=True)).to_be_hidden()
    line = page.locator("a[href^='#L']").first
    assert line.get_attribute("href"), "lines have links"


def every_page(world: World, ada: Account) -> list[str]:
    """Makes a project with everything and returns the addresses of all kinds of pages."""
    files = {
        "README.md": "# Read me\n\n- [ ] todo\n\n```rust\nfn main() {}\n```\n\n<script>alert(1)</script><img src=pixel.gif onerror=alert(1)>\n\n[x](javascript:alert(1))\n",
        "src/main.rs": 'fn main() { println!("<b>&"); }\n',
        "binary.bin": b"\0\1\2" * 1000,
        "pixel.gif": base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"),
        "big.txt": "long line " * 400_000,
        'odd " <name>.txt': "x\n",
    }
    project = world.project(ada)
    project.push({**files}, "-o", "ci.skip")
    run = project.push_ci("work:\n  script: [mkdir out, echo hi > out/x.txt]\n  artifacts: {paths: [out]}\n  environment: production\n").end("success")
    project.work.git("tag", "v1")
    project.work.push("-o", "ci.skip", "origin", "v1")
    broken = project.push_ci("work:\n  scirpt: echo\n")
    sha, job = project.work.head(), run.job("work").id
    tails = ["", "/-/tree/main", "/-/tree/main/src", "/-/blob/main/src/main.rs", "/-/blob/main/binary.bin", "/-/blob/main/big.txt", "/-/blob/main/README.md"]
    tails += ["/-/blob/main/odd%20%22%20%3Cname%3E.txt", "/-/commits", "/-/commits/main", f"/-/commit/{sha}", "/-/branches", "/-/tags", "/-/pipelines"]
    tails += [f"/-/pipelines/{run.id}", f"/-/pipelines/{broken.id}", "/-/jobs", f"/-/jobs/{job}", f"/-/jobs/{job}/artifacts/browse", "/-/settings"]
    pages = [f"/{project.path}{tail}" for tail in tails]
    return [*pages, "/", "/-/projects/new", "/-/groups/new", "/-/user_settings/personal_access_tokens", "/-/user_settings/password"]


@pytest.mark.parametrize("options", [{}, {"viewport": PHONE, "color_scheme": "dark", "is_mobile": True}], ids=["desktop", "phone"])
def test_every_page_is_in_order(browser: Browser, world: World, options: dict[str, object]) -> None:
    ada = world.account("ada")
    addresses = every_page(world, ada)
    wrong = []
    with visitor(browser, world.server.url, **options) as it:
        it.sign_in(ada)
        for address in addresses:
            wrong += judge(it, address)
        wrong += judge(it, "/no/such/page", 404)
        it.context.clear_cookies()
        wrong += judge(it, "/-/login")
        wrong += judge(it, f"/{ada.username}/private")
        wrong += [f"a page complains: {text}" for text in it.complaints]
        it.complaints.clear()
    assert not wrong, "\n".join(wrong)


def test_the_administrators_pages_are_in_order(browser: Browser, world: World) -> None:
    with visitor(browser, world.server.url) as it:
        it.sign_in(world.root)
        assert judge(it, "/-/admin/users") + judge(it, "/-/admin/runners") == []


NAMELESS = """() => [...document.querySelectorAll('button, a[href], input:not([type=hidden], [disabled]), select, textarea')]
    .filter(it => it.checkVisibility() && !(it.textContent.trim() || it.ariaLabel || it.title || it.labels?.length || it.placeholder
        || it.querySelector('[aria-label], [title]')))
    .map(it => it.outerHTML)"""


def judge(visitor: Visitor, address: str, status: int = 200) -> list[str]:
    """Returns what is wrong with a page that should be right with every page."""
    page = visitor.page
    answer = page.goto(visitor.base + address)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    checks = {
        f"answers {answer and answer.status}": answer is not None and answer.status == status,
        f"is titled {page.title()!r}": page.title().endswith("· RAVE"),
        f"is {wide} pixels wider than the screen": wide <= 0,
        f"has controls without a name: {page.evaluate(NAMELESS)}": page.evaluate(NAMELESS) == [],
        "has not one main heading": page.locator("h1").count() >= 1,
        "has inline scripts or styles": page.locator("script:not([src]), [style], [onclick], [onerror]").count() == 0,
    }
    return [f"{address} {text}" for text, right in checks.items() if not right]


def test_main_actions_are_reached_by_keyboard(somebody: tuple[Visitor, Account], world: World, gates: Gates) -> None:
    visitor, ada = somebody
    word = unique("keys")
    run = world.ci(f"work:\n  script: {gates.wait_command(word)}\n", owner=ada)
    gates.wait_for_arrival(word)
    page = visitor.visit(run.job("work").web_url)
    assert "Skip to content" in focused_after_tabs(page, 1)
    names = [focused_after_tabs(page, 1) for _ in range(40)]
    for wanted in ("New project", "Pipelines", "Cancel"):
        assert any(wanted in it for it in names), f"{wanted} is not reached by the tabulator: {names}"
    page.get_by_role("button", name="Cancel").first.focus()
    page.keyboard.press("Enter")
    run.wait_for_job("work", "canceled")
    gates.open(word)
    page = visitor.visit("/")
    page.locator("details.menu summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Access tokens")).to_be_visible()


def focused_after_tabs(page: Page, times: int) -> str:
    for _ in range(times):
        page.keyboard.press("Tab")
    return str(page.evaluate("(document.activeElement?.textContent || '') + ' ' + (document.activeElement?.ariaLabel || '')")).strip()


def test_pages_work_without_scripts(browser: Browser, world: World) -> None:
    ada = world.account("ada")
    run = world.ci("work:\n  script: [echo seen without scripts]\n", owner=ada).end("success")
    with visitor(browser, world.server.url, java_script_enabled=False) as it:
        page = it.sign_in(ada)
        page.goto(run.job("work").web_url)
        expect(page.get_by_text("seen without scripts", exact=True)).to_be_visible()
        page.get_by_role("button", name="Retry").first.click()
        expect(page.get_by_role("heading", name="work")).to_be_visible()
        assert page.url != run.project.url
        page.goto(it.base + "/-/projects/new")
        page.get_by_label("Name", exact=False).first.fill(unique("plain"))
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_text(".git").first).to_be_visible()


def test_a_token_is_made_in_the_browser_and_shown_once(somebody: tuple[Visitor, Account], world: World) -> None:
    visitor, ada = somebody
    page = visitor.visit("/-/user_settings/personal_access_tokens")
    page.get_by_label("Name").first.fill("from the browser")
    page.get_by_label("read_api").first.check()
    page.get_by_role("button", name="Make token").click()
    shown = page.get_by_text("glpat-").first
    expect(shown).to_be_visible()
    token = secrets.note((shown.text_content() or "").strip())
    assert Account(world.server, ada.username, token).get("/user").json()["username"] == ada.username
    page = visitor.visit("/-/user_settings/personal_access_tokens")
    assert page.get_by_text(token).count() == 0 and page.get_by_text("from the browser").count() >= 1
