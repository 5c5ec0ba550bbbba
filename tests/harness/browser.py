"""Headless Chromium whose pages may not complain: errors of scripts, of the console and of the content security policy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright

from .world import Account

EXECUTABLE = os.environ.get("RAVE_CHROMIUM", "/usr/bin/chromium")
WAIT_MS = 20_000


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-gpu"])


class Visitor:
    """A person with a browser of their own, and everything their pages complained of."""

    def __init__(self, context: BrowserContext, base: str):
        self.context = context
        self.base = base
        self.complaints: list[str] = []
        context.set_default_timeout(WAIT_MS)
        context.on("weberror", lambda it: self.complaints.append(f"{it.page.url if it.page else '?'}: {it.error}"))
        context.on("console", self._console)
        context.on("response", self._response)
        self.page: Page = context.new_page()

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium also writes a line for every 4xx answer, which `expect_statuses` judges.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.page.url if message.page else '?'}: {message.type}: {message.text}")

    def _response(self, response: object) -> None:
        status, url = response.status, response.url  # type: ignore[attr-defined]
        if status >= 400 and not response.request.is_navigation_request():  # type: ignore[attr-defined]
            self.complaints.append(f"{url} answers {status}")

    def visit(self, path: str) -> Page:
        self.page.goto(path if path.startswith("http") else self.base + path)
        return self.page

    def sign_in(self, account: Account) -> Page:
        page = self.visit("/-/login")
        page.get_by_label("User name").fill(account.username)
        page.get_by_label("Password").fill(account.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(self.base + "/")
        return page


@contextmanager
def visitor(browser: Browser, base: str, **options: object) -> Iterator[Visitor]:
    """Lets somebody look around, and fails in the end if a page complained."""
    context = browser.new_context(**options)
    try:
        it = Visitor(context, base)
        yield it
        assert it.complaints == []
    finally:
        context.close()
