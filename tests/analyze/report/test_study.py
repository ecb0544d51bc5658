"""The report is one file that shows everything that is there, says what is not, and loads nothing."""

import html
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import curves
from analyze.report.findings import findings
from analyze.report.page.plots import value_text
from analyze.report.study import missing, thinned, write_report
from configs.schema import Experiment

PLOTS = [
    "Noise mapping",
    "Neighbourhoods",
    "Alignment with the final images",
    "Angles of the triangle",
    "Distances",
    "Correlation of pixels",
    "Angles of the triangle, last images",
    "Distances, last images",
    "Training loss",
]


class Page(HTMLParser):
    """The images of a page, by alternative text, everything that a browser would fetch for it, ids and links."""

    def __init__(self, text: str):
        super().__init__()
        self.images: dict[str, str] = {}
        self.described: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.fetched += [told[name] for name in ("src", "srcset", "data", "poster") if name in told]
        self.links += [told[name] for name in ("href", "xlink:href") if name in told and tag != "link"]
        if tag == "link":
            self.fetched.append(told["href"])
        if tag == "img":
            self.images[told["alt"]] = told["src"]
        if told.get("role") == "img":
            self.described.append(told["aria-label"])
        if "id" in told:
            self.ids.append(told["id"])


def sentences(experiment: Experiment) -> list[str]:
    return findings(experiment, curves([SeedAnalysis(experiment, seed) for seed in experiment.seeds]))


@pytest.fixture(scope="module")
def report(study) -> Path:
    return write_report(study)


@pytest.fixture(scope="module")
def text(report) -> str:
    return report.read_text(encoding="utf-8")


@pytest.fixture
def damaged(with_checkpoints) -> Experiment:
    """An experiment of which one checkpoint of one seed is damaged, and all others are analyzed."""
    experiment = with_checkpoints("seeds=[10]")
    analysis = SeedAnalysis(experiment, 10)
    os.truncate(analysis.run.checkpoint(2) / "ema_0.99.safetensors", 100)
    analysis.analyze(analysis.missing())
    return experiment


# --- the file


def test_findings_plots_and_pictures_are_on_the_page(study, text):
    page = Page(text)
    assert len(sentences(study)) == 3 and all(html.escape(one) in text for one in sentences(study))
    assert [one for one in page.described if "against" in one] == [f"{one} against the training step" for one in PLOTS]
    for step in (0, 2, 5, 8):
        assert {f"3 images generated at step {step}", f"3 latents inverted at step {step}"} <= page.images.keys()
    assert "The triangle of noise, image and latent, to scale" in page.described
    assert "What is missing" not in text and missing(study) == []


def test_nothing_is_loaded_from_anywhere(text):
    page = Page(text)
    assert len(page.fetched) > 10 and all(source.startswith("data:") for source in page.fetched)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"@import|<script\s|url\((?!#)", text)


def test_ids_are_unique_and_links_lead_to_them(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_every_picture_has_a_description(text):
    assert all(Page(text).images) and all(Page(text).described)


def test_every_number_of_the_last_checkpoint_is_in_the_table(study, text):
    for name, curve in curves([SeedAnalysis(study, seed) for seed in study.seeds]).items():
        row = f'<th scope="row">{name}</th><td>8</td><td>{curve.mean[-1]:.4g}</td><td>{curve.std[-1]:.4g}</td>'
        assert row in text


def test_every_value_of_a_curve_is_in_the_table_below_it(study, text):
    curve = curves([SeedAnalysis(study, seed) for seed in study.seeds])["noise_mapping/image_to_noise"]
    (table,) = re.findall(r'<figure class="plot" id="noise_mapping">.*?</figure>', text, re.DOTALL)
    for step, mean, std in zip(curve.steps, curve.mean, curve.std, strict=True):
        row = re.search(rf'<th scope="row">{step}</th><td data-y="[\d.]+">([^<]*)</td>', table)
        assert row is not None and row[1] == value_text(mean, std, 100)


def test_what_is_missing_is_said(damaged):
    (sentence,) = missing(damaged)
    assert sentence.startswith("seed 10, step 2: ") and "000000002/ema_0.99.safetensors" in sentence
    text = write_report(damaged).read_text()
    assert "What is missing" in text and html.escape(sentence) in text
    assert "3 images generated at step 5" in text and "3 images generated at step 2" not in text


def test_what_is_not_done_yet_is_said(tiny, analyzed):
    """Nothing of seed 7 is there, and nothing of the steps that a longer training will get to."""
    analyzed()
    experiment = tiny("seeds=[0,7]", "train.checkpoints.at=[0,2,5,8]", "train.steps=9")
    assert missing(experiment) == [
        "seed 0: not trained or not analysed yet: step 9; preliminary: what is compared with the last checkpoint "
        "is compared with step 8",
        "seed 7: not trained or not analysed yet: step 0, 2, 5, 8, 9",
    ]


def test_a_report_of_nothing_is_a_page_too(tiny):
    text = write_report(tiny()).read_text()
    assert "Nothing was measured." in text and Page(text).images == {}


def test_names_are_written_as_text(tiny):
    text = write_report(tiny('wandb.project="<b>bold</b>"')).read_text()
    assert "&lt;b&gt;bold" in text and "<b>" not in text


def test_written_twice_it_is_the_same(report, study):
    first = report.read_bytes()
    assert write_report(study).read_bytes() == first


def test_a_long_log_is_thinned_to_means_and_a_short_one_is_kept():
    short = {1: 3.0, 2: 5.0}
    assert thinned(short) == short
    long = {step: float(step) for step in range(10, 10_001, 10)}
    few = thinned(long, most=50)
    assert 20 < len(few) <= 50 and list(few) == sorted(few) and list(few)[-1] == 10_000
    before = 0
    for step, mean in few.items():
        assert mean == pytest.approx((before + 10 + step) / 2)
        before = step


# --- in a browser


def shown(viewer) -> list[str]:
    """The descriptions of the pictures that a viewer shows."""
    return [one.get_attribute("alt") for one in viewer.locator("img:visible").all()]


def test_a_browser_shows_it_without_complaint_or_network(visit, damaged):
    file = write_report(damaged)
    visited = visit(file)
    said = visited.page.inner_text("body")
    for sentence in (*sentences(damaged), *missing(damaged)):
        assert sentence in said
    assert visited.complaints == []
    assert [url for url in visited.asked if not url.startswith("data:")] == [file.resolve().as_uri()]


def test_complaints_and_requests_are_heard(visit, tmp_path):
    """That the test before would fail on a page which loads what is not there."""
    file = tmp_path / "page.html"
    file.write_text("<p>shown</p><img src=absent.png><script>console.error('wrong'); nothing()</script>")
    visited = visit(file)
    visited.page.wait_for_function("document.images[0].complete")
    assert any("wrong" in one for one in visited.complaints) and any("nothing" in one for one in visited.complaints)
    assert (tmp_path / "absent.png").as_uri() in visited.asked


def test_the_slider_moves_the_pictures(visit, report):
    """By keys, and by the mouse; those of the other seed stay."""
    page = visit(report).page
    viewer, slider = page.locator("#seed-0"), page.locator("#seed-0 input")
    assert shown(viewer) == ["the 3 noises x_T", "3 images generated at step 8", "3 latents inverted at step 8"]
    slider.press("Home")
    assert shown(viewer) == ["the 3 noises x_T", "3 images generated at step 0", "3 latents inverted at step 0"]
    assert viewer.locator("output").inner_text() == slider.get_attribute("aria-valuetext") == "step 0"
    slider.press("ArrowRight")
    assert shown(viewer)[1] == "3 images generated at step 2" and "image x_0 · step 2" in viewer.inner_text()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 2 / 3, box["y"] + box["height"] / 2)
    assert shown(viewer)[1] == "3 images generated at step 5"
    assert shown(page.locator("#seed-10"))[1] == "3 images generated at step 8"


def test_a_plot_shows_its_values_under_the_mouse(visit, report):
    page = visit(report).page
    canvas, tip = page.locator("#knn_coverage .canvas"), page.locator("#knn_coverage .tip")
    assert not tip.is_visible()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    rows = page.locator("#knn_coverage tbody tr")
    for row in (rows.nth(1), rows.last):
        x = float(row.get_attribute("data-x")) / float(canvas.get_attribute("data-width"))
        page.mouse.move(box["x"] + x * box["width"] + 2, box["y"] + box["height"] / 2)
        step, *values = row.locator("th, td").all_text_contents()
        assert tip.inner_text().splitlines() == [
            f"step {step}",
            f"neighbours of images {values[0]}",
            f"neighbours of noises {values[1]}",
        ]
    page.mouse.move(0, 0)
    assert not tip.is_visible()


def test_the_spots_lie_on_the_curve(visit, report):
    """Their places are those of the drawing: the markers of Matplotlib are below them."""
    page = visit(report).page
    page.locator("#knn_coverage .canvas").press("End")
    spot = page.locator("#knn_coverage .spot").first.bounding_box()
    places = [one.bounding_box() for one in page.locator('#knn_coverage svg use[style*="curve-0"]').all()]
    centres = [(one["x"] + one["width"] / 2, one["y"] + one["height"] / 2) for one in places]
    x, y = spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2
    assert min(abs(x - a) + abs(y - b) for a, b in centres) < 1.5


def test_a_plot_is_read_with_the_keys(visit, report):
    page = visit(report).page
    canvas, tip = page.locator("#noise_mapping .canvas"), page.locator("#noise_mapping .tip")
    canvas.focus()
    assert tip.inner_text().startswith("step 8\n")
    for key, step in (("ArrowLeft", 5), ("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 2), ("End", 8)):
        canvas.press(key)
        assert tip.inner_text().startswith(f"step {step}\n")
        assert canvas.get_attribute("aria-valuetext").startswith(f"step {step}: image → noise ")
    canvas.press("Escape")
    assert not tip.is_visible()


def test_everything_is_reached_with_tab(visit, report):
    page = visit(report).page
    kinds = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        kinds.add(page.evaluate("document.activeElement.getAttribute('role') || document.activeElement.localName"))
    assert {"button", "a", "input", "slider", "summary"} <= kinds


def background(page) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))]


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_it_is_dark_or_light_as_the_system_is_until_asked(visit, report, scheme, other):
    page = visit(report, color_scheme=scheme).page
    is_dark = {"dark": lambda: max(background(page)) < 64, "light": lambda: min(background(page)) > 192}
    assert is_dark[scheme]()
    page.locator("#theme").click()
    assert is_dark[other]()
    page.locator("#theme").click()
    assert is_dark[scheme]()


def luminance(colour: list[int]) -> float:
    """Of an sRGB colour. Source: WCAG 2.2, relative luminance."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_stand_out(visit, report, scheme):
    """Contrast of 4.5 for text and 3 for lines. Source: WCAG 2.2, criteria 1.4.3 and 1.4.11."""
    page = visit(report, color_scheme=scheme).page

    def contrast(variable: str, ground: str) -> float:
        colours = "(v) => { document.body.style.color = `var(--${v})`; return getComputedStyle(document.body).color }"
        both = [
            luminance(list(map(int, re.findall(r"\d+", page.evaluate(colours, one))))) for one in (variable, ground)
        ]
        return (max(both) + 0.05) / (min(both) + 0.05)

    for variable in ("ink", "soft", "accent"):
        assert contrast(variable, "paper") > 4.5 and contrast(variable, "wash") > 4.5
    for place in range(6):
        assert contrast(f"curve-{place}", "paper") > 3


def test_a_phone_scrolls_in_one_direction(visit, report):
    page = visit(report, viewport={"width": 390, "height": 844}, has_touch=True).page
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#knn_coverage .canvas").tap()
    tip = page.locator("#knn_coverage .tip").bounding_box()
    assert tip["x"] >= 0 and tip["x"] + tip["width"] <= 390


def test_without_scripts_the_last_pictures_and_all_tables_are_there(visit, report):
    page = visit(report, java_script_enabled=False).page
    assert shown(page.locator("#seed-0"))[1:] == ["3 images generated at step 8", "3 latents inverted at step 8"]
    assert not page.locator("input").first.is_visible() and not page.locator("#theme").is_visible()
    assert page.locator("#tables table").count() >= 3
    page.locator("#noise_mapping summary").click()
    assert page.locator("#noise_mapping tbody tr").first.is_visible()
