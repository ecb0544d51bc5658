"""Comparison of several experiments: labels, shared axes, shared noise and published values."""

import dataclasses
import re

import pytest

from analyze.analysis import SeedAnalysis
from analyze.commands import compare as command
from analyze.report.comparison import differences, folder_name, labels_of, merge_tables, write_comparison
from analyze.report.table_formats import Column, Table, TableRow, Value
from configs.errors import UserError
from configs.load import load

EMA, RAW = "at=[0, 2, 5] weights=ema_0.99", "at=[0, 5] weights=model"


def analyze(experiment) -> None:
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        analysis.analyze(analysis.missing())


@pytest.fixture(scope="module")
def arguments(study, command_line, tmp_path_factory):
    """Command line of the study and of a second analysis, with raw weights and fewer checkpoints."""
    config = command_line(tmp_path_factory.mktemp("unused"), f"runs={study.runs}", f"data.root={study.data.root}")
    raw = [*config, "analyze.weights=model", "train.checkpoints.at=[0,5]"]
    analyze(load(raw[0], raw[1:]))
    return [*config, *raw]


@pytest.fixture(scope="module")
def comparison(arguments):
    return write_comparison(command.read(arguments))


# --- the command line


def test_options_apply_to_the_preceding_configuration(arguments):
    first, other = command.read(arguments)
    assert (first.analyze.weights, other.analyze.weights) == ("ema_0.99", "model")
    assert first.train.checkpoints.at == [0, 2, 5] and other.train.checkpoints.at == [0, 5]


def test_command_prints_the_file(arguments, tmp_path, capsys):
    command.main([*arguments, "--out", str(tmp_path / "mine")])
    assert capsys.readouterr().out == f"Comparison: {tmp_path}/mine/index.html\n"
    assert (tmp_path / "mine" / "index.html").read_text().startswith("<!doctype html>")


def test_invalid_comparisons_are_refused(study, tiny, tmp_path):
    with pytest.raises(UserError, match=r"analyze.weights=model precedes all configurations"):
        command.read(["analyze.weights=model", "configs/digits.yaml"])
    with pytest.raises(UserError, match=r"cannot compare 1 experiments; choose 2 to 6"):
        write_comparison([study])
    with pytest.raises(UserError, match=r"digits is listed twice with the same options; add an option"):
        write_comparison([study, study])
    with pytest.raises(UserError, match=r"other: .*/runs/other: nothing has been analyzed yet; run python -m analyze"):
        write_comparison([study, tiny("name=other")])
    assert list(tmp_path.iterdir()) == []


def test_unwritable_page_is_reported(arguments, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/index.html: cannot be written: "):
        write_comparison(command.read(arguments), tmp_path / "file")


# --- labels


def test_labels_contain_the_differing_options(tiny):
    assert labels_of([tiny(), tiny("name=other")]) == ["digits", "other"]
    assert labels_of([tiny("seeds=[0]"), tiny("seeds=[10]")]) == ["seeds=[0]", "seeds=[10]"]
    three = [tiny(), tiny("analyze.weights=model"), tiny("name=other", "analyze.weights=model")]
    assert labels_of(three) == ["digits weights=ema_0.99", "digits weights=model", "other"]


def test_all_differing_options_are_listed(tiny):
    values = differences([tiny(), tiny("analyze.weights=model", "model.num_classes=10")])
    assert values == {"model.num_classes": ["null", "10"], "analyze.weights": ["ema_0.99", "model"]}
    (strides,) = differences([tiny(), tiny("train.checkpoints.strides=[{every: 2}]")]).values()
    assert strides == ["[]", "[{'every': 2, 'until': None}]"]


def test_folder_names_are_short_and_distinct():
    assert folder_name("digits: a and b/c") == "digits_a_and_b_c"
    long = [folder_name("x" * 500 + end) for end in "ab"]
    assert len(set(long)) == 2 and max(map(len, long)) < 255


# --- the page


def test_experiments_share_axes(comparison):
    text = comparison.read_text(encoding="utf-8")
    plots = re.findall(r'<figure class="plot" id="([^"]*)">(.*?)</figure>', text, re.DOTALL)
    assert "noise_mapping-noise_mapping-image_to_noise" in dict(plots) and len(plots) > 15
    for _, plot in plots:
        header = re.findall(r'<th scope="col" data-color="([^"]*)">([^<]*)</th>', plot)
        assert header == [("var(--curve-0)", EMA), ("var(--curve-1)", RAW)]


def test_weights_with_equal_images_are_reproducible(comparison):
    """The raw weights of the fixture equal their averages; its seeds are independent networks."""
    text = comparison.read_text(encoding="utf-8")
    (table,) = re.findall(r'aria-label="Table: Similarity of pixels".*?</table>', text, re.DOTALL)
    rows = re.findall(r'<th scope="row">([^<]*)</th><td>(\d)</td><td>8</td><td>([^<]*)</td>', table)
    assert [row[:2] for row in rows] == [(f"{EMA} – {RAW}", "2"), (f"seeds of {EMA}", "1"), (f"seeds of {RAW}", "1")]
    assert rows[0][2] == "100.0 ± 0.0" and rows[1][2] == rows[2][2]
    assert f"(pixel correlation above 0.6): 100.0 ± 0.0 % for {EMA} – {RAW}" in text


def test_missing_step_is_an_empty_cell(comparison):
    text = comparison.read_text(encoding="utf-8")
    (plot,) = re.findall(r'<figure class="plot" id="knn_coverage-knn_coverage-image">.*?</figure>', text, re.DOTALL)
    (cells,) = re.findall(r'<th scope="row">2</th>(.*?)</tr>', plot)
    assert re.fullmatch(r'<td data-y="[\d.]+">[^<]+</td><td></td>', cells)


def test_page_lists_the_differences(comparison):
    text = comparison.read_text(encoding="utf-8")
    assert '<th scope="row">analyze.weights</th><td>ema_0.99</td><td>model</td>' in text
    assert '<th scope="row">train.checkpoints.at</th><td>[0, 2, 5]</td><td>[0, 5]</td>' in text
    assert '<th scope="row">model.image_size</th>' not in text


def test_tables_have_one_row_per_experiment(comparison):
    text = comparison.read_text(encoding="utf-8")
    (table,) = re.findall(r'aria-label="Table: Noise mapping: correctly.*?</table>', text, re.DOTALL)
    assert re.findall(r'<th scope="row">([^<]*)</th><td>4</td>', table) == [EMA, RAW]


def test_published_values_remain_in_their_own_rows():
    column = Column("angle", "angle (°)")
    ours = Table("name", "title", (column,), (TableRow(50, {"angle": Value(1.0, 0.5)}),), 1, "some note.")
    row = TableRow(100, {"angle": Value(2.0, 0.25)}, {"angle": Value(3.0, 0.1)})
    grid = merge_tables([("one", ours), ("other", dataclasses.replace(ours, rows=(row,), model="ddpm_cifar10"))])
    assert grid.header == ["experiment", "T", "angle (°)", "published", "Δ"]
    assert grid.rows == [["one", "50", "1.0 ± 0.5", "", ""], ["other", "100", "2.0 ± 0.2", "3.0 ± 0.1", "−1.0"]]
    assert grid.note == "one: some note. other: some note. Published: ddpm_cifar10, arXiv 2410.23530v1."


def test_one_slider_moves_the_pictures_of_both(visit, comparison):
    """An experiment without a checkpoint at the selected step shows the previous one."""
    visited = visit(comparison)
    viewer = visited.page.locator(".viewer").first
    viewer.locator("input").press("Home")
    viewer.locator("input").press("ArrowRight")
    assert viewer.locator("output").inner_text() == "step 2"
    assert [image.get_attribute("alt") for image in viewer.locator("img:visible").all()] == [
        "the 3 noises x_T",
        "3 images generated at step 2",
        "3 images generated at step 0",
    ]
    assert f"{RAW}, seed 0 · step 0" in viewer.inner_text()
    assert visited.messages == [] and [url for url in visited.requests if not url.startswith("data:")] == [
        comparison.resolve().as_uri()
    ]


def test_tooltip_shows_the_values_of_both(visit, comparison):
    page = visit(comparison).page
    canvas = page.locator("#knn_coverage-knn_coverage-image .canvas")
    canvas.press("Home")
    canvas.press("ArrowRight")
    lines = page.locator("#knn_coverage-knn_coverage-image .tip").inner_text().splitlines()
    assert lines[0] == "step 2" and len(lines) == 2 and lines[1].startswith(f"{EMA} ")
    canvas.press("End")
    lines = page.locator("#knn_coverage-knn_coverage-image .tip").inner_text().splitlines()
    assert lines == ["step 8", f"{EMA} 100.0 ± 0.0", f"{RAW} 100.0 ± 0.0"]


def test_phone_scrolls_only_vertically(visit, comparison):
    page = visit(comparison, viewport={"width": 390, "height": 844}).page
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_models_of_different_shapes_have_separate_noise(study, with_checkpoints, tmp_path):
    other = with_checkpoints(
        "name=other", "model.image_size=16", "seeds=[0]", "analyze.samples=4", "analyze.ddim_steps=2"
    )
    analyze(other)
    text = write_comparison([study, other], tmp_path).read_text(encoding="utf-8")
    assert re.findall('class="viewer" id="([^"]*)"', text) == [
        "images-digits",
        "latents-digits",
        "images-other",
        "latents-other",
    ]
    assert text.count("the 3 noises x_T") == 4


def test_page_is_reproducible(arguments, comparison):
    first = comparison.read_bytes()
    assert write_comparison(command.read(arguments)).read_bytes() == first
