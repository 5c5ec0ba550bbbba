"""What a project's pages show: files, history, and the cases that are not plain text."""

import re

import pytest
import requests
from harness.world import Account, Project, World

README = "# The title\n\nSome *text*, `code` and a [link](docs/a.md).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script>\n"


@pytest.fixture
def shown(project: Project) -> tuple[Project, requests.Session]:
    files = {"README.md": README, "src/main.rs": 'fn main() { println!("<b>"); }\n', "docs/a.md": "# A\n", "image.png": b"\x89PNG\r\n\x1a\n\0\0\0", "blob.bin": bytes(range(256)) * 8}
    project.push(files, message="First commit\n\nIts body <b>.")
    return project, project.owner.sign_in()


def page(shown: tuple[Project, requests.Session], tail: str, status: int = 200) -> str:
    answer = shown[1].get(shown[0].url + tail, timeout=30)
    assert answer.status_code == status, f"{tail}: {answer.status_code}"
    return answer.text


def test_the_project_page_renders_the_readme_safely(shown: tuple[Project, requests.Session]) -> None:
    text = page(shown, "")
    assert "<em>text</em>" in text and "<table>" in text and "<code>code</code>" in text
    assert "<script>alert" not in text and "The title</h1>" in text
    assert "/-/blob/main/docs/a.md" in text and shown[0].clone_url() in text and "First commit" in text


def test_files_are_highlighted_with_linked_lines(shown: tuple[Project, requests.Session]) -> None:
    text = page(shown, "/-/blob/main/src/main.rs")
    assert 'id="L1"' in text and re.search(r'<i class="\w+">fn</i>', text) and "&lt;b&gt;" in text
    raw = shown[1].get(shown[0].url + "/-/raw/main/src/main.rs", timeout=10)
    assert raw.text == 'fn main() { println!("<b>"); }\n' and raw.headers["Content-Type"].startswith("text/plain")
    assert raw.headers["X-Content-Type-Options"] == "nosniff"


def test_binary_and_large_files_degrade_gracefully(shown: tuple[Project, requests.Session]) -> None:
    project = shown[0]
    project.push({"large.txt": "0123456789abcde\n" * (1 << 19), "page.html": "<script>alert(1)</script>"})
    binary = page(shown, "/-/blob/main/blob.bin")
    assert "\0" not in binary and "/-/raw/main/blob.bin" in binary
    large = page(shown, "/-/blob/main/large.txt")
    assert len(large) < 3 << 20 and "/-/raw/main/large.txt" in large
    raw = shown[1].get(project.url + "/-/raw/main/large.txt", timeout=30)
    assert len(raw.content) == 8 << 20
    hostile = shown[1].get(project.url + "/-/raw/main/page.html", timeout=10)
    assert not hostile.headers["Content-Type"].startswith("text/html")


def test_history_and_differences(shown: tuple[Project, requests.Session]) -> None:
    project = shown[0]
    project.push({"src/main.rs": "fn main() {}\n", "docs/b.md": "# B\n"}, message="Second <commit>")
    text = page(shown, "/-/commits/main")
    assert "Second &lt;commit&gt;" in text and "First commit" in text
    text = page(shown, f"/-/commit/{project.work.head()}")
    assert "docs/b.md" in text and "fn main() {}" in text and re.search(r"class=\"[^\"]*\badd", text)
    project.work.git("tag", "v1")
    project.work.push("origin", "v1", "HEAD:refs/heads/topic/one")
    assert "topic/one" in page(shown, "/-/branches") and "v1" in page(shown, "/-/tags")
    assert "main.rs" in page(shown, "/-/tree/topic/one/src")


def test_what_does_not_exist_is_a_page_that_says_so(shown: tuple[Project, requests.Session]) -> None:
    for tail in ("/-/blob/main/absent", "/-/tree/absent", "/-/commit/" + "0" * 40, "/-/pipelines/999999999", "/-/jobs/999999999", "/-/no-such-page"):
        assert "404" in page(shown, tail, 404)


def test_an_empty_project_says_what_to_do_next(project: Project) -> None:
    text = page((project, project.owner.sign_in()), "")
    assert f"git remote add origin {project.clone_url()}" in text and "git push" in text


def test_visibility_decides_who_sees_a_project(world: World) -> None:
    def sees(account: Account | None, project: Project) -> bool:
        session = account.sign_in() if account else requests.Session()
        return session.get(project.url, timeout=10, allow_redirects=False).status_code == 200

    stranger = world.account("stranger")
    seen = {}
    for visibility in ("private", "internal", "public"):
        project = world.project(visibility=visibility)
        project.push({"a": "b"})
        seen[visibility] = (sees(None, project), sees(stranger, project), sees(project.member("guest", 10), project))
    assert seen == {"private": (False, False, True), "internal": (False, True, True), "public": (True, True, True)}


def test_a_guest_sees_pipelines_but_no_code(project: Project) -> None:
    run = project.push_ci("work:\n  script: echo\n", {"secret.txt": "the code\n"}).end("success")
    guest = project.member("guest", 10)
    session = guest.sign_in()
    assert session.get(run.pipeline.web_url, timeout=10).status_code == 200
    assert session.get(project.url + "/-/blob/main/secret.txt", timeout=10).status_code in (403, 404)
    assert "secret.txt" not in session.get(project.url, timeout=10).text
    assert guest.get(f"/projects/{project.id}/repository/files/secret.txt?ref=main").status_code == 403
    assert guest.get(f"/projects/{project.id}/repository/archive.zip").status_code == 403
