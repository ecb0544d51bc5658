"""A fixture: a browser that records the requests and messages of a page."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Visit:
    """Page in a browser, with its requests and its console messages and errors."""

    def __init__(self, page: Any):
        self.page = page
        self.requests: list[str] = []
        self.messages: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))


@pytest.fixture(scope="module")
def visit() -> Iterator[Callable[..., Visit]]:
    """Return a function that opens a file in headless Chromium, with options of Playwright's browser.new_context."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not on PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

        def open_file(file: Path, **options: Any) -> Visit:
            visit = Visit(browser.new_context(**options).new_page())
            visit.page.goto(file.resolve().as_uri())
            return visit

        yield open_file
        browser.close()
