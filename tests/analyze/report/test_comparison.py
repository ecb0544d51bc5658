"""Several experiments on one page: whose is whose, the same axes, the same noise, the published values beside."""

import dataclasses
import re

import pytest

from analyze.analysis import SeedAnalysis
from analyze.commands import compare as command
from analyze.report.comparison import differences, folder_name, labels_of, side_by_side, write_comparison
from analyze.report.table_formats import Column, Table, TableRow, Value
from configs.errors import UserError
from configs.load import load

EMA, RAW = "at=[0, 2, 5] weights=ema_0.99", "at=[0, 5] weights=model"


def analyse(experiment) -> None:
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        analysis.analyze(analysis.missing())


@pytest.fixture(scope="module")
def arguments(study, command_line, tmp_path_factory):
    """The command line of the study, and of it analyzed with the raw weights, half of its checkpoints."""
    config = command_line(tmp_path_factory.mktemp("unused"), f"runs={study.runs}", f"data.root={study.data.root}")
    raw = [*config, "analyze.weights=model", "train.checkpoints.at=[0,5]"]
    analyse(load(raw[0], raw[1:]))
    return [*config, *raw]


@pytest.fixture(scope="module")
def comparison(arguments):
    return write_comparison(command.read(arguments))


# --- the command line


def test_options_belong_to_the_configuration_before_them(arguments):
    one, other = command.read(arguments)
    assert (one.analyze.weights, other.analyze.weights) == ("ema_0.99", "model")
    assert one.train.checkpoints.at == [0, 2, 5] and other.train.checkpoints.at == [0, 5]


def test_the_command_says_where(arguments, tmp_path, capsys):
    command.main([*arguments, "--out", str(tmp_path / "mine")])
    assert capsys.readouterr().out == f"Comparison: {tmp_path}/mine/index.html\n"
    assert (tmp_path / "mine" / "index.html").read_text().startswith("<!doctype html>")


def test_what_cannot_be_compared_is_refused(study, tiny, tmp_path):
    with pytest.raises(UserError, match=r"analyze.weights=model comes before the configuration"):
        command.read(["analyze.weights=model", "configs/digits.yaml"])
    with pytest.raises(UserError, match=r"2 to 6 experiments can be compared, not 1"):
        write_comparison([study])
    with pytest.raises(UserError, match=r"digits is asked for twice; write behind it what is to differ"):
        write_comparison([study, study])
    with pytest.raises(UserError, match=r"other: .*/runs/other: nothing is analyzed yet; run python -m analyze"):
        write_comparison([study, tiny("name=other")])
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_is_said(arguments, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/index.html: cannot be written: "):
        write_comparison(command.read(arguments), tmp_path / "file")


# --- names


def test_experiments_are_named_by_what_tells_them_apart(tiny):
    assert labels_of([tiny(), tiny("name=other")]) == ["digits", "other"]
    assert labels_of([tiny("seeds=[0]"), tiny("seeds=[10]")]) == ["seeds=[0]", "seeds=[10]"]
    three = [tiny(), tiny("analyze.weights=model"), tiny("name=other", "analyze.weights=model")]
    assert labels_of(three) == ["digits weights=ema_0.99", "digits weights=model", "other"]


def test_differences_are_all_options_that_differ(tiny):
    found = differences([tiny(), tiny("analyze.weights=model", "model.num_classes=10")])
    assert found == {"model.num_classes": ["null", "10"], "analyze.weights": ["ema_0.99", "model"]}
    (strides,) = differences([tiny(), tiny("train.checkpoints.strides=[{every: 2}]")]).values()
    assert strides == ["[]", "[{'every': 2, 'until': None}]"]


def test_folders_have_names_that_fit(tiny):
    assert folder_name("digits: a and b/c") == "digits_a_and_b_c"
    long = [folder_name("x" * 500 + end) for end in "ab"]
    assert len(set(long)) == 2 and max(map(len, long)) < 255


# --- the page


def test_both_stand_in_the_same_axes(comparison):
    text = comparison.read_text(encoding="utf-8")
    plots = re.findall(r'<figure class="plot" id="([^"]*)">(.*?)</figure>', text, re.DOTALL)
    assert "noise_mapping-noise_mapping-image_to_noise" in dict(plots) and len(plots) > 15
    for _, plot in plots:
        header = re.findall(r'<th scope="col" data-colour="([^"]*)">([^<]*)</th>', plot)
        assert header == [("var(--curve-0)", EMA), ("var(--curve-1)", RAW)]


def test_a_step_that_one_has_not_is_empty(comparison):
    """Of the raw weights step 2 is not analyzed."""
    text = comparison.read_text(encoding="utf-8")
    (plot,) = re.findall(r'<figure class="plot" id="knn_coverage-knn_coverage-image">.*?</figure>', text, re.DOTALL)
    (cells,) = re.findall(r'<th scope="row">2</th>(.*?)</tr>', plot)
    assert re.fullmatch(r'<td data-y="[\d.]+">[^<]+</td><td></td>', cells)


def test_the_differences_are_listed(comparison):
    text = comparison.read_text(encoding="utf-8")
    assert '<th scope="row">analyze.weights</th><td>ema_0.99</td><td>model</td>' in text
    assert '<th scope="row">train.checkpoints.at</th><td>[0, 2, 5]</td><td>[0, 5]</td>' in text
    assert '<th scope="row">model.image_size</th>' not in text


def test_tables_have_a_row_each(comparison):
    text = comparison.read_text(encoding="utf-8")
    (table,) = re.findall(r'aria-label="Table: Noise mapping: correctly.*?</table>', text, re.DOTALL)
    assert re.findall(r'<th scope="row">([^<]*)</th><td>4</td>', table) == [EMA, RAW]


def test_published_values_stand_in_the_rows_of_those_that_have_some():
    column = Column("angle", "angle, °")
    ours = Table("name", "title", (column,), (TableRow(50, {"angle": Value(1.0, 0.5)}),), 1, "measured so.")
    row = TableRow(100, {"angle": Value(2.0, 0.25)}, {"angle": Value(3.0, 0.1)})
    grid = side_by_side([("one", ours), ("other", dataclasses.replace(ours, rows=(row,), model="ddpm_cifar10"))])
    assert grid.header == ["experiment", "T", "angle, °", "published", "Δ"]
    assert grid.rows == [["one", "50", "1.0 ± 0.5", "", ""], ["other", "100", "2.0 ± 0.2", "3.0 ± 0.1", "−1.0"]]
    assert grid.note == "one: measured so. other: measured so. Published: ddpm_cifar10, arXiv 2410.23530v1."


def test_one_slider_moves_the_pictures_of_both(visit, comparison):
    """Where one has no checkpoint, that before is shown."""
    visited = visit(comparison)
    viewer = visited.page.locator(".viewer").first
    viewer.locator("input").press("Home")
    viewer.locator("input").press("ArrowRight")
    assert viewer.locator("output").inner_text() == "step 2"
    assert [one.get_attribute("alt") for one in viewer.locator("img:visible").all()] == [
        "the 3 noises x_T",
        "3 images generated at step 2",
        "3 images generated at step 0",
    ]
    assert f"{RAW}, seed 0 · step 0" in viewer.inner_text()
    assert visited.complaints == [] and [url for url in visited.asked if not url.startswith("data:")] == [
        comparison.resolve().as_uri()
    ]


def test_values_of_both_are_under_the_mouse(visit, comparison):
    page = visit(comparison).page
    canvas = page.locator("#knn_coverage-knn_coverage-image .canvas")
    canvas.press("Home")
    canvas.press("ArrowRight")
    said = page.locator("#knn_coverage-knn_coverage-image .tip").inner_text().splitlines()
    assert said[0] == "step 2" and len(said) == 2 and said[1].startswith(f"{EMA} ")
    canvas.press("End")
    said = page.locator("#knn_coverage-knn_coverage-image .tip").inner_text().splitlines()
    assert said == ["step 8", f"{EMA} 100.0 ± 0.0", f"{RAW} 100.0 ± 0.0"]


def test_a_phone_scrolls_in_one_direction(visit, comparison):
    page = visit(comparison, viewport={"width": 390, "height": 844}).page
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_models_of_other_shapes_have_noise_of_their_own(study, with_checkpoints, tmp_path):
    other = with_checkpoints(
        "name=other", "model.image_size=16", "seeds=[0]", "analyze.samples=4", "analyze.ddim_steps=2"
    )
    analyse(other)
    text = write_comparison([study, other], tmp_path).read_text(encoding="utf-8")
    assert re.findall('class="viewer" id="([^"]*)"', text) == [
        "images-digits",
        "latents-digits",
        "images-other",
        "latents-other",
    ]
    assert text.count("the 3 noises x_T") == 4


def test_written_twice_it_is_the_same(arguments, comparison):
    first = comparison.read_bytes()
    assert write_comparison(command.read(arguments)).read_bytes() == first
