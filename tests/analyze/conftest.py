"""What tests of pages share: a study that is analyzed once, and a browser that notes what a page asks for and says."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.load import load
from configs.schema import Experiment
from records.atomic import write_text
from records.layout import seed_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def study(tmp_path_factory, analyzed_runs, command_line) -> Experiment:
    """A tiny study, analyzed, with a log as training would leave it; it is shared, so nothing in it may be changed."""
    config, *options = command_line(tmp_path_factory.mktemp("study"))
    experiment = load(config, options)
    shutil.copytree(analyzed_runs, experiment.runs)
    write_log(experiment)
    return experiment


def write_log(experiment: Experiment) -> None:
    """As training would leave it."""
    for seed in experiment.seeds:
        write_text(seed_folder(experiment, seed).log, '{"step": 2, "loss": 1.5}\n{"step": 4, "loss": 1.0}\n')


class Visit:
    """A page in a browser, everything that it asked for, and every complaint."""

    def __init__(self, page: Any):
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture(scope="module")
def visit() -> Iterator[Callable[..., Visit]]:
    """A function: opens a file in a headless Chromium; options are those of Playwright's browser.new_context."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not on PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

        def opened(file: Path, **options: Any) -> Visit:
            visit = Visit(browser.new_context(**options).new_page())
            visit.page.goto(file.resolve().as_uri())
            return visit

        yield opened
        browser.close()
