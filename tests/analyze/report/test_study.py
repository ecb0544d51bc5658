"""The report: one self-contained file with all available results and a list of the missing ones."""

import html
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from analyze.report.findings import findings
from analyze.report.page.plots import value_text
from analyze.report.study import collect, missing, trained_further, write_report
from configs.errors import UserError
from configs.schema import Experiment

PLOTS = [
    "Noise mapping",
    "Transport gap",
    "Neighborhoods",
    "Alignment with the final images",
    "Angles",
    "Distances",
    "Correlation of pixels",
    "Error in plain areas",
    "Spread in plain areas",
    "Divergence from N(0, 1)",
    "Angles, last images",
    "Distances, last images",
    "Training loss",
]


class Page(HTMLParser):
    """Images of a page by their alt text, labels of drawings, fetched URLs, ids and links."""

    def __init__(self, text: str):
        super().__init__()
        self.images: dict[str, str] = {}
        self.labels: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.fetched += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        self.links += [values[name] for name in ("href", "xlink:href") if name in values and tag != "link"]
        if tag == "link":
            self.fetched.append(values["href"])
        if tag == "img":
            self.images[values["alt"]] = values["src"]
        if values.get("role") == "img":
            self.labels.append(values["aria-label"])
        if "id" in values:
            self.ids.append(values["id"])


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
    """Return an analyzed experiment with one damaged checkpoint."""
    experiment = with_checkpoints("seeds=[10]")
    analysis = SeedAnalysis(experiment, 10)
    os.truncate(analysis.run.checkpoint(2) / "ema_0.99.safetensors", 100)
    analysis.analyze(analysis.missing())
    return experiment


# --- the file


def test_page_contains_findings_plots_and_pictures(study, text):
    page = Page(text)
    assert len(sentences(study)) == 4 and all(html.escape(sentence) in text for sentence in sentences(study))
    plots = [label for label in page.labels if "against" in label]
    assert plots == [f"{title} against the training step" for title in PLOTS]
    for step in (0, 2, 5, 8):
        assert {f"3 images generated at step {step}", f"3 latents inverted at step {step}"} <= page.images.keys()
    assert "The triangle of noise, image and latent, drawn with its most probable angles" in page.labels
    assert "Missing results" not in text and missing(study) == []


def test_page_loads_nothing(text):
    page = Page(text)
    assert len(page.fetched) > 10 and all(source.startswith("data:") for source in page.fetched)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"@import|<script\s|url\((?!#)", text)


def test_ids_are_unique_and_links_resolve(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_every_picture_has_a_description(text):
    assert all(Page(text).images) and all(Page(text).labels)


def test_table_contains_every_number_of_the_last_checkpoint(study, text):
    for name, curve in curves([SeedAnalysis(study, seed) for seed in study.seeds]).items():
        row = f'<th scope="row">{name}</th><td>8</td><td>{curve.mean[-1]:.4g}</td><td>{curve.std[-1]:.4g}</td>'
        assert row in text


def test_table_of_a_plot_contains_every_value(study, text):
    curve = curves([SeedAnalysis(study, seed) for seed in study.seeds])["noise_mapping/image_to_noise"]
    (table,) = re.findall(r'<figure class="plot" id="noise_mapping">.*?</figure>', text, re.DOTALL)
    for step, mean, std in zip(curve.steps, curve.mean, curve.std, strict=True):
        row = re.search(rf'<th scope="row">{step}</th><td data-y="[\d.]+">([^<]*)</td>', table)
        assert row is not None and row[1] == value_text(mean, std, 100)


def test_failed_checkpoint_is_reported(damaged):
    (sentence,) = missing(damaged)
    assert sentence.startswith("seed 10, step 2: ") and "000000002/ema_0.99.safetensors" in sentence
    text = write_report(damaged).read_text()
    assert "Missing results" in text and html.escape(sentence) in text
    assert "3 images generated at step 5" in text and "3 images generated at step 2" not in text


def test_checkpoints_that_are_not_trained_are_listed(tiny, analyzed):
    analyzed()
    experiment = tiny("seeds=[0,7]", "train.checkpoints.at=[0,2,5,8]", "train.steps=9")
    assert missing(experiment) == [
        "seed 0: not trained yet: step 9 (preliminary: comparisons with the last checkpoint use step 8, and are left "
        "out of averages with seeds trained further)",
        "seed 7: not trained yet: steps 0, 2, 5, 8, 9",
    ]


def test_a_half_trained_study_is_an_error_only_if_it_should_be_trained(tiny, analyzed, capsys):
    """Analyze shows what there is, without seeds that have no checkpoint; launch would have trained the rest."""
    analyzed()
    experiment = tiny("seeds=[0,7]", "train.checkpoints.at=[0,2,5,8]", "train.steps=9")
    collect(experiment, half_trained=True)
    assert "\nseed 0: not trained yet: step 9 (preliminary" in capsys.readouterr().out
    with pytest.raises(UserError, match="the study is incomplete: seed 0: not trained yet: step 9"):
        collect(experiment)


def test_checkpoints_beyond_the_configured_steps_are_named(tiny, analyzed):
    analyzed()
    assert trained_further(tiny("seeds=[0,7]")) == []
    assert trained_further(tiny("seeds=[0,7]", "train.steps=5")) == [
        "seed 0 is trained to step 8; set train.steps=8 to analyze all of it"
    ]


def test_checkpoints_that_are_not_analyzed_are_listed(with_checkpoints):
    experiment = with_checkpoints("seeds=[0]", "train.checkpoints.at=[0,1,2,3,4,5]")
    SeedAnalysis(experiment, 0).analyze([8])
    assert missing(experiment) == ["seed 0: trained but not analyzed yet: steps 0, 1, 2, 3, 4, … (6 checkpoints)"]


def test_findings_omit_measures_that_failed(study):
    results = curves([SeedAnalysis(study, seed) for seed in study.seeds])
    of_mapping, of_settling, of_geometry, of_average = findings(study, results)
    del results["noise_mapping/image_to_noise"], results["ssim/mean"]
    assert findings(study, results) == [of_geometry, of_average]
    assert "nearest to an image" in of_mapping and "nearest neighbors" in of_settling


@pytest.mark.parametrize(
    ("overrides", "share"),
    [
        (["train.ema_rates=[0.999]", "analyze.weights=ema_0.999"], "99 %"),  # 0.999⁸
        (["train.ema_rates=[0.5]", "analyze.weights=ema_0.5"], None),
        (["analyze.weights=model"], None),
        (["train.ema_rates=[0.999]", "analyze.weights=ema_0.999", "train.init_from=weights.pt"], None),
    ],
)
def test_findings_warn_of_an_average_that_contains_the_initial_weights(tiny, overrides, share):
    measured = {"cka/biased": Curve("cka/biased", {8: [1.0]})}
    warnings = [sentence for sentence in findings(tiny(*overrides), measured) if "random initial weights" in sentence]
    assert bool(warnings) == bool(share) and all(share in sentence for sentence in warnings)


def test_report_without_results_is_a_page(tiny):
    text = write_report(tiny()).read_text()
    assert "Nothing has been measured." in text and Page(text).images == {}


def test_names_are_escaped(tiny):
    text = write_report(tiny('wandb.project="<b>bold</b>"')).read_text()
    assert "&lt;b&gt;bold" in text and "<b>" not in text


def test_report_is_reproducible(report, study):
    first = report.read_bytes()
    assert write_report(study).read_bytes() == first


# --- in a browser


def shown(viewer) -> list[str]:
    """Return the alt texts of the visible pictures of a viewer."""
    return [image.get_attribute("alt") for image in viewer.locator("img:visible").all()]


def test_browser_reports_no_messages_and_no_requests(visit, damaged):
    file = write_report(damaged)
    visited = visit(file)
    body = visited.page.inner_text("body")
    for sentence in (*sentences(damaged), *missing(damaged)):
        assert sentence in body
    assert visited.messages == []
    assert [url for url in visited.requests if not url.startswith("data:")] == [file.resolve().as_uri()]


def test_visit_records_messages_and_requests(visit, tmp_path):
    """The previous test would fail on a page with errors or missing files."""
    file = tmp_path / "page.html"
    file.write_text("<p>shown</p><img src=absent.png><script>console.error('wrong'); nothing()</script>")
    visited = visit(file)
    visited.page.wait_for_function("document.images[0].complete")
    assert all(any(text in message for message in visited.messages) for text in ("wrong", "nothing"))
    assert (tmp_path / "absent.png").as_uri() in visited.requests


def test_slider_moves_the_pictures(visit, report):
    """With keys and mouse; the other seed's pictures do not change."""
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


def test_tooltip_shows_the_values_under_the_mouse(visit, report):
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
            f"neighbors of images {values[0]}",
            f"neighbors of noises {values[1]}",
        ]
    page.mouse.move(0, 0)
    assert not tip.is_visible()


def test_tooltip_spots_match_the_markers_of_matplotlib(visit, report):
    page = visit(report).page
    page.locator("#knn_coverage .canvas").press("End")
    spot = page.locator("#knn_coverage .spot").first.bounding_box()
    boxes = [marker.bounding_box() for marker in page.locator('#knn_coverage svg use[style*="curve-0"]').all()]
    centers = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    x, y = spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2
    assert min(abs(x - a) + abs(y - b) for a, b in centers) < 1.5


def test_arrow_keys_select_a_step(visit, report):
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


def test_tab_reaches_every_control(visit, report):
    page = visit(report).page
    kinds = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        kinds.add(page.evaluate("document.activeElement.getAttribute('role') || document.activeElement.localName"))
    assert {"button", "a", "input", "slider", "summary"} <= kinds


def background(page) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))]


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_color_scheme_follows_the_system_until_changed(visit, report, scheme, other):
    page = visit(report, color_scheme=scheme).page
    is_dark = {"dark": lambda: max(background(page)) < 64, "light": lambda: min(background(page)) > 192}
    assert is_dark[scheme]()
    page.locator("#theme").click()
    assert is_dark[other]()
    page.locator("#theme").click()
    assert is_dark[scheme]()


def luminance(color: list[int]) -> float:
    """Return the relative luminance of an sRGB color. Source: WCAG 2.2."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_have_enough_contrast(visit, report, scheme):
    """4.5 for text and 3 for lines. Source: WCAG 2.2, criteria 1.4.3 and 1.4.11."""
    page = visit(report, color_scheme=scheme).page

    def contrast(variable: str, ground: str) -> float:
        script = "(v) => { document.body.style.color = `var(--${v})`; return getComputedStyle(document.body).color }"
        colors = [re.findall(r"\d+", page.evaluate(script, name)) for name in (variable, ground)]
        luminances = [luminance(list(map(int, color))) for color in colors]
        return (max(luminances) + 0.05) / (min(luminances) + 0.05)

    for variable in ("ink", "soft", "accent"):
        assert contrast(variable, "paper") > 4.5 and contrast(variable, "wash") > 4.5
    for i in range(6):
        assert contrast(f"curve-{i}", "paper") > 3


def test_phone_scrolls_only_vertically(visit, report):
    page = visit(report, viewport={"width": 390, "height": 844}, has_touch=True).page
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#knn_coverage .canvas").tap()
    tip = page.locator("#knn_coverage .tip").bounding_box()
    assert tip["x"] >= 0 and tip["x"] + tip["width"] <= 390


def test_page_without_scripts_shows_the_last_pictures_and_all_tables(visit, report):
    page = visit(report, java_script_enabled=False).page
    assert shown(page.locator("#seed-0"))[1:] == ["3 images generated at step 8", "3 latents inverted at step 8"]
    assert not page.locator("input").first.is_visible() and not page.locator("#theme").is_visible()
    assert page.locator("#tables table").count() >= 3
    page.locator("#noise_mapping summary").click()
    assert page.locator("#noise_mapping tbody tr").first.is_visible()
