#!/usr/bin/env python3
"""Takes pictures of every page from a real run of `rave demo`: light and dark, desktop and phone, into target/screenshots/;
and the README's picture, docs/pipeline.png, while the pipeline runs."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("RAVE_BINARY", str(ROOT / "target/release/rave"))
OUT = ROOT / "target" / "screenshots"
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Demo:
    """`rave demo`, whose talk on standard error tells addresses and password."""

    def __init__(self, root):
        self.lines, self.seen = [], threading.Condition()
        self.process = subprocess.Popen([BINARY, "demo", "--data", str(root / "demo"), *sys.argv[1:]], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stderr:
            sys.stderr.write(line)
            with self.seen:
                self.lines.append(line)
                self.seen.notify_all()

    def find(self, pattern, seconds=180):
        """Waits for a line that matches and returns what the pattern captures."""
        def found():
            return next((it for it in (re.search(pattern, line) for line in self.lines) if it), None)
        with self.seen:
            if not self.seen.wait_for(found, timeout=seconds):
                raise SystemExit(f"the demo never said {pattern}")
            return found().groups()


def pages(project):
    return {
        "projects": "/", "new-project": "/-/projects/new", "project": f"/{project}", "file": f"/{project}/-/blob/main/README.md",
        "pipeline-file": f"/{project}/-/blob/main/.gitlab-ci.yml", "commits": f"/{project}/-/commits", "branches": f"/{project}/-/branches",
        "tags": f"/{project}/-/tags", "pipelines": f"/{project}/-/pipelines", "pipeline": f"/{project}/-/pipelines/1",
        "pipeline-jobs": f"/{project}/-/pipelines/1/builds", "pipeline-needs": f"/{project}/-/pipelines/1/needs",
        "new-pipeline": f"/{project}/-/pipelines/new", "jobs": f"/{project}/-/jobs", "job": f"/{project}/-/jobs/2",
        "artifacts": f"/{project}/-/jobs/2/artifacts/browse", "settings": f"/{project}/-/settings",
        "tokens": "/-/user_settings/personal_access_tokens", "password": "/-/user_settings/password", "users": "/-/admin/users",
        "runners": "/-/admin/runners", "new-group": "/-/groups/new", "missing": f"/{project}/-/nothing",
    }


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        demo = Demo(pathlib.Path(scratch))
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        try:
            url = demo.find(r"is ready on (\S+)")[0]
            shoot(browser, url, "login", "/-/login", None)
            (project,) = demo.find(r"Project\s+" + re.escape(url) + r"/(\S+)")
            (password,) = demo.find(r"with the password (\S+)")
            state = sign_in(browser, url, password)
            for name, path in pages(project).items():
                shoot(browser, url, name, path, state)
            shutil.copy(OUT / "pipeline-light-desktop.png", ROOT / "docs" / "pipeline.png")
        finally:
            browser.close()
            demo.process.terminate()
            demo.process.wait(timeout=60)
    print(f"pictures are in {OUT}")


def sign_in(browser, url, password):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/-/login")
    page.fill("input[name=username], input[name=login]", "root")
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(f"{url}/")
    state = context.storage_state()
    context.close()
    return state


def shoot(browser, url, name, path, state):
    for scheme in ("light", "dark"):
        for device, (width, height) in SIZES.items():
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}, storage_state=state)
            page = context.new_page()
            page.goto(url + path, wait_until="load")
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                print(f"{name} is {wide - width} px wider than a {device}")
            page.screenshot(path=str(OUT / f"{name}-{scheme}-{device}.png"))
            context.close()


if __name__ == "__main__":
    main()
