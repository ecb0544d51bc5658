"""The report is one file that shows everything that is there, says what is not, and loads nothing."""

import html
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import curves
from analyze.findings import findings
from analyze.report import missing, write_report
from configs.schema import Experiment
from records.durable import write_text
from records.layout import seed_folder

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
]


class Page(HTMLParser):
    """The images of a page, by alternative text, and everything that a browser would fetch for it."""

    def __init__(self, text: str):
        super().__init__()
        self.images: dict[str, str] = {}
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.fetched += [told[name] for name in ("src", "srcset", "data", "poster") if name in told]
        if tag == "link":
            self.fetched.append(told["href"])
        if tag == "img":
            self.images[told["alt"]] = told["src"]


def log(experiment: Experiment) -> None:
    """As training would leave it."""
    for seed in experiment.seeds:
        write_text(seed_folder(experiment, seed).log, '{"step": 2, "loss": 1.5}\n{"step": 4, "loss": 1.0}\n')


def sentences(experiment: Experiment) -> list[str]:
    return findings(experiment, curves([SeedAnalysis(experiment, seed) for seed in experiment.seeds]))


@pytest.fixture
def damaged(as_if_trained) -> Experiment:
    """An experiment of which one checkpoint of one seed is damaged, and all others are analysed."""
    experiment = as_if_trained("seeds=[10]")
    analysis = SeedAnalysis(experiment, 10)
    os.truncate(analysis.run.checkpoint(2) / "ema_0.99.safetensors", 100)
    analysis.analyse(analysis.missing())
    return experiment


def test_findings_plots_and_pictures_are_on_the_page(analysed):
    experiment = analysed()
    log(experiment)
    text = write_report(experiment).read_text()
    page = Page(text)
    assert len(sentences(experiment)) == 3 and all(html.escape(one) in text for one in sentences(experiment))
    plots = [alt for alt, source in page.images.items() if source.startswith("data:image/svg+xml")]
    assert plots == [
        f"{title} against the training step"
        for title in (
            "Noise mapping",
            "Neighbourhoods",
            "Alignment with the final images",
            "Angles of the triangle",
            "Distances",
            "Angles of the triangle, last images",
            "Distances, last images",
            "Training loss",
        )
    ]
    for step in (0, 2, 5, 8):
        assert f"3 images generated at step {step}" in page.images
    assert "What is missing" not in text and missing(experiment) == []


def test_nothing_is_loaded_from_anywhere(analysed):
    experiment = analysed()
    text = write_report(experiment).read_text()
    fetched = Page(text).fetched
    assert len(fetched) > 10 and all(source.startswith("data:") for source in fetched)
    assert not re.search(r"@import|<script|url\(|https?://", text)


def test_every_number_of_the_last_checkpoint_is_in_the_table(analysed):
    experiment = analysed()
    text = write_report(experiment).read_text()
    for name, curve in curves([SeedAnalysis(experiment, seed) for seed in experiment.seeds]).items():
        assert f"<td>{name}</td><td>8</td><td>{curve.mean[-1]:.4g}</td><td>{curve.std[-1]:.2g}</td>" in text


def test_what_is_missing_is_said(damaged):
    (sentence,) = missing(damaged)
    assert sentence.startswith("seed 10, step 2: ") and "000000002/ema_0.99.safetensors" in sentence
    text = write_report(damaged).read_text()
    assert "What is missing" in text and html.escape(sentence) in text
    assert "3 images generated at step 5" in text and "3 images generated at step 2" not in text


def test_what_is_not_done_yet_is_said(tiny, analysed):
    """Nothing of seed 7 is there, and nothing of the steps that a longer training will get to."""
    analysed()
    experiment = tiny("seeds=[0,7]", "train.checkpoints.at=[0,2,5,8]", "train.steps=9")
    assert missing(experiment) == [
        "seed 0: not trained or not analysed yet: step 9; preliminary: what is compared with the last checkpoint "
        "is compared with step 8",
        "seed 7: not trained or not analysed yet: step 0, 2, 5, 8, 9",
    ]


def test_a_report_of_nothing_is_a_page_too(tiny):
    text = write_report(tiny()).read_text()
    assert "Nothing was measured." in text and Page(text).images == {}


def test_names_are_written_as_text(analysed):
    experiment = analysed('wandb.project="<b>bold</b>"')
    text = write_report(experiment).read_text()
    assert "&lt;b&gt;bold" in text and "<b>" not in text


def test_written_twice_it_is_the_same(analysed):
    experiment = analysed()
    assert write_report(experiment).read_bytes() == write_report(experiment).read_bytes()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")
def test_a_browser_shows_it_without_complaint(damaged, tmp_path):
    log(damaged)
    page = write_report(damaged)
    shown, said = _shown(page, tmp_path / "profile")
    for sentence in (*sentences(damaged), *missing(damaged)):
        assert sentence in html.unescape(shown)
    assert "CONSOLE" not in said


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")
def test_a_browsers_complaints_are_heard(tmp_path):
    """That the test before would fail on a page which loads what is not there."""
    page = tmp_path / "page.html"
    page.write_text(
        "<p>shown</p><script>console.error('wrong'); document.querySelector('p').textContent += ' too'</script>"
    )
    shown, said = _shown(page, tmp_path / "profile")
    assert "shown too" in shown and "CONSOLE" in said


def _shown(page: Path, profile: Path) -> tuple[str, str]:
    """What a browser makes of a page, and what it says meanwhile."""
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr
