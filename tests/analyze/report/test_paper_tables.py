"""The paper's tables: our numbers, published numbers and differences, in three formats."""

import csv
import dataclasses
import io
import json
import math
import re
import statistics

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import curves
from analyze.report.paper_tables import (
    LAYOUTS,
    PUBLISHED,
    final_numbers,
    pooled_std,
    published_values,
    tables,
    tables_from,
    write_tables,
)
from analyze.report.table_formats import (
    Column,
    Table,
    TableRow,
    Value,
    as_text,
    escape,
    latex_math,
    plain,
    to_csv,
    to_latex,
    to_markdown,
)
from records.atomic import write_json
from records.layout import report_folder

COMPARED = Table(
    "some_table",
    "Some 100 % of x̂_T & x_0",
    (
        Column("angle", "angle (°)", spread=False),
        Column("share_of", "share_of → x_T"),
        Column("floor", "floor", published=False),
    ),
    (
        TableRow(10, {"angle": Value(43.474), "share_of": Value(0.5, 0.25), "floor": Value(1.0, 0.0)}),
        TableRow(
            100,
            {"angle": Value(29.9), "share_of": Value(32.0, 1.0)},
            {"angle": Value(30.02), "share_of": Value(31.0, 2.0)},
        ),
    ),
    2,
    "Some note.",
    "ddpm_cifar10",
)
ALONE = dataclasses.replace(COMPARED, model=None)


def stored(experiment, step: int, measure: str, key: str) -> list[float]:
    """Return the stored number of every seed."""
    files = [SeedAnalysis(experiment, seed).results_file(step) for seed in experiment.seeds]
    return [json.loads(file.read_text())["measures"][measure]["values"][key] for file in files]


def by_name(experiment) -> dict[str, Table]:
    return {table.name: table for table in tables(experiment)}


# --- numbers


def test_angles_and_distances_are_means_over_seeds(analyzed):
    experiment = analyzed()
    (row,) = by_name(experiment)["table345_triangle"].rows
    assert row.ddim_steps == 4
    assert row.ours["angle_noise"] == Value(statistics.fmean(stored(experiment, 8, "triangle", "noise_of_mean")))
    assert row.ours["noise_latent"] == Value(
        statistics.fmean(stored(experiment, 8, "distances", "noise_latent")),
        statistics.fmean(stored(experiment, 8, "distances", "noise_latent_std")),
    )
    assert set(row.ours) == {
        "angle_image",
        "angle_noise",
        "angle_latent",
        "noise_latent",
        "image_latent",
        "image_noise",
    }


def test_correlations_include_the_noise_floor(analyzed):
    experiment = analyzed()
    (row,) = by_name(experiment)["table1_correlation"].rows
    assert list(row.ours) == ["noise", "latents", "samples", "floor"]
    assert row.ours["floor"].mean == pytest.approx(stored(experiment, 8, "correlation", "floor")[0])


def test_noise_mapping_is_in_percent_with_the_deviation_of_all_chunks(analyzed):
    """TINY has 8 images in chunks of 4: 2 chunks per seed. Two values with mean m and deviation s are m ± s/√2."""
    experiment = analyzed()
    (row,) = by_name(experiment)["table2_noise_mapping"].rows
    means = stored(experiment, 8, "noise_mapping", "image_to_noise")
    stds = stored(experiment, 8, "noise_mapping", "image_to_noise_std")
    chunks = [mean + sign * std / 2**0.5 for mean, std in zip(means, stds, strict=True) for sign in (1, -1)]
    assert row.ours["image_to_noise"].mean == pytest.approx(100 * statistics.fmean(means))
    assert row.ours["image_to_noise"].std == pytest.approx(100 * statistics.stdev(chunks))


@pytest.mark.parametrize("groups", [[[1.0, 2.0, 4.0], [3.0, 3.0, 9.0]], [[1.0], [2.0], [4.0]], [[1.0, 5.0]], [[1.0]]])
def test_pooled_deviation_is_that_of_all_values(groups):
    means = [statistics.fmean(group) for group in groups]
    stds = [statistics.stdev(group) if len(group) > 1 else 0.0 for group in groups]
    values = [value for group in groups for value in group]
    expected = pytest.approx(statistics.stdev(values)) if len(values) > 1 else None
    assert pooled_std(means, stds, len(groups[0])) == expected


def test_only_seeds_with_the_last_step_count(analyzed):
    experiment = analyzed()
    SeedAnalysis(experiment, experiment.seeds[1]).results_file(8).unlink()
    table = by_name(experiment)["table345_triangle"]
    (first, *_) = [
        json.loads(SeedAnalysis(experiment, experiment.seeds[0]).results_file(8).read_text())["measures"]["triangle"]
    ]
    assert table.rows[0].ours["angle_image"].mean == first["values"]["image_of_mean"]
    assert "one seed" in table.note


def test_no_results_give_no_tables(tiny):
    assert tables(tiny()) == []


def test_unmeasured_tables_are_omitted(analyzed):
    experiment = analyzed()
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        for step in analysis.steps:
            others = {name: result for name, result in analysis.results(step).items() if name != "correlation"}
            write_json(analysis.results_file(step), {"measures": others})
    assert list(by_name(experiment)) == ["table2_noise_mapping", "table345_triangle"]


def test_sweep_has_one_row_per_number_of_steps(analyzed, tiny):
    """Unmeasured experiments have no row."""
    experiment = analyzed("seeds=[0]")
    other, third = (tiny("seeds=[0]", f"analyze.ddim_steps={steps}") for steps in (2, 8))
    write_json(
        SeedAnalysis(other, 0).results_file(8), json.loads(SeedAnalysis(experiment, 0).results_file(8).read_text())
    )
    finals = [final_numbers(run.analyze, curves([SeedAnalysis(run, 0)])) for run in (experiment, other, third)]
    sweep = tables_from([final for final in finals if final is not None])
    assert [[row.ddim_steps for row in table.rows] for table in sweep] == [[2, 4]] * 3


# --- published numbers


def test_published_numbers_match_the_paper():
    assert published_values("ddpm_cifar10", "correlation", 100)["latents"] == Value(0.462, 0.009)
    assert published_values("ddpm_cifar10", "noise_mapping", 100)["noise_to_image"] == Value(50.4, 1.9)
    assert published_values("ddpm_cifar10", "triangle", 100)["angle_image"] == Value(30.02)
    assert published_values("ddpm_imagenet64", "triangle", 4000)["noise_latent"] == Value(23.37, 21.46)
    assert published_values("ldm_celeba", "triangle", 10)["image_noise"] == Value(87.59, 8.05)


def test_unpublished_rows_are_empty():
    assert published_values("ldm_celeba", "noise_mapping", 4000) == {}
    assert published_values("ddpm_cifar10", "triangle", 20) == {}
    assert published_values(None, "triangle", 100) == {}


def test_every_published_row_has_the_columns_of_its_table():
    models = json.loads(PUBLISHED.read_text())["models"]
    for model in models.values():
        assert set(model) == {layout.measure for layout in LAYOUTS}
        for layout in LAYOUTS:
            named = {column.key: column.spread for column in layout.columns if column.published}
            for row in model[layout.measure].values():
                assert {key: len(numbers) == 2 for key, numbers in row.items()} == named


def test_published_triangles_are_triangles():
    """Check the copied numbers: angles add up to about 180°, and sides are proportional to the sines."""
    for model in json.loads(PUBLISHED.read_text())["models"].values():
        for row in model["triangle"].values():
            assert sum(row[f"angle_{corner}"][0] for corner in ("image", "noise", "latent")) == pytest.approx(
                180, abs=5
            )
            assert row["image_noise"][0] > row["image_latent"][0]
    row = published_values("ddpm_cifar10", "triangle", 10)
    opposite = {"noise_latent": "angle_image", "image_latent": "angle_noise", "image_noise": "angle_latent"}
    ratios = [row[side].mean / math.sin(math.radians(row[angle].mean)) for side, angle in opposite.items()]
    assert max(ratios) / min(ratios) == pytest.approx(1, abs=0.02)


def test_difference_is_ours_minus_published(analyzed, tiny):
    experiment = analyzed("seeds=[0]")
    compared = tiny("seeds=[0]", "analyze.ddim_steps=100", "analyze.published=ddpm_cifar10")
    write_json(
        SeedAnalysis(compared, 0).results_file(8), json.loads(SeedAnalysis(experiment, 0).results_file(8).read_text())
    )
    (row,) = by_name(compared)["table345_triangle"].rows
    assert row.published["noise_latent"] == Value(32.29, 4.68)
    assert row.difference("noise_latent") == Value(row.ours["noise_latent"].mean - 32.29)
    assert by_name(experiment)["table345_triangle"].model is None


def test_latents_of_another_number_of_steps_are_not_compared_with_published_ones(analyzed, tiny):
    experiment = analyzed("seeds=[0]")
    options = ["analyze.ddim_steps=100", "analyze.inversion_steps=20", "analyze.published=ddpm_cifar10"]
    compared = tiny("seeds=[0]", *options)
    write_json(
        SeedAnalysis(compared, 0).results_file(8), json.loads(SeedAnalysis(experiment, 0).results_file(8).read_text())
    )
    compared_tables = by_name(compared)
    published = {name: set(table.rows[0].published) for name, table in compared_tables.items()}
    assert published == {
        "table1_correlation": {"noise", "samples"},
        "table2_noise_mapping": {"image_to_noise", "noise_to_image"},
        "table345_triangle": {"image_noise"},
    }
    assert compared_tables["table345_triangle"].note.endswith("one seed. Inverted in 20 steps.")


# --- formats


def test_numbers_are_rounded_to_the_published_decimals():
    assert plain(Value(32.294, 4.676), 2) == "32.29 ± 4.68"
    assert plain(Value(100.0, 0.0), 1) == "100.0 ± 0.0"
    assert plain(Value(-0.126), 2, signed=True) == "−0.13"
    assert plain(Value(0.126), 2, signed=True) == "+0.13"
    assert plain(Value(-0.001), 2, signed=True) == "0.00"
    assert latex_math(Value(32.294, 4.676), 2) == r"$32.29 \pm 4.68$"
    assert latex_math(Value(-0.126), 2, signed=True) == "$-0.13$"
    assert [layout.decimals for layout in LAYOUTS] == [3, 1, 2]


def test_csv_can_be_parsed():
    first, second = csv.DictReader(io.StringIO(to_csv(COMPARED)))
    assert list(first) == [
        "T",
        *("angle", "angle_published", "angle_difference"),
        *("share_of", "share_of_std", "share_of_published", "share_of_published_std", "share_of_difference"),
        *("floor", "floor_std"),
    ]
    assert (first["T"], float(first["angle"]), float(first["share_of_std"])) == ("10", 43.47, 0.25)
    assert first["angle_published"] == first["angle_difference"] == second["floor"] == ""
    assert (second["angle_difference"], second["share_of_published_std"]) == ("-0.12", "2.00")


def test_csv_without_published_values_has_only_our_columns():
    assert to_csv(ALONE).splitlines()[0] == "T,angle,share_of,share_of_std,floor,floor_std"


def test_markdown_has_ours_published_and_difference():
    lines = to_markdown(COMPARED).splitlines()
    assert "| T | angle (°) | published | Δ | share_of → x_T | published | Δ | floor |" in lines
    assert "| 10 | 43.47 |  |  | 0.50 ± 0.25 |  |  | 1.00 ± 0.00 |" in lines
    assert "| 100 | 29.90 | 30.02 | −0.12 | 32.00 ± 1.00 | 31.00 ± 2.00 | +1.00 |  |" in lines
    assert (
        lines[0]
        == "**Some 100 % of x̂_T & x_0, compared with the values published for ddpm_cifar10 (arXiv 2410.23530v1)**"
    )
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_text_has_one_cell_per_column():
    assert as_text(ALONE) == [
        ["T", "angle (°)", "share_of → x_T", "floor"],
        ["10", "43.47", "0.50 ± 0.25", "1.00 ± 0.00"],
        ["100", "29.90", "32.00 ± 1.00", ""],
    ]


def test_latex_escapes_special_characters():
    assert escape(r"50 % & $1 #2 a_b {c} ~ ^ \d") == (
        r"50 \% \& \$1 \#2 a\_b \{c\} \textasciitilde{} \textasciicircum{} \textbackslash{}d"
    )
    assert escape("(x_T, x̂_T, x_0) → 3° ± 1, Tables 3–5") == (
        r"($x_T$, $\hat{x}_T$, $x_0$) $\to$ 3$^\circ$ $\pm$ 1, Tables 3--5"
    )


@pytest.mark.parametrize("table", [COMPARED, ALONE])
def test_latex_is_well_formed(table):
    """Braces and environments are closed, rows match the columns, and the text is ASCII."""
    text = to_latex(table)
    assert text.isascii()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert re.findall(r"\\begin\{([^}]*)\}", text) == re.findall(r"\\end\{([^}]*)\}", text)[::-1]
    columns = len(re.findall(r"\\begin\{tabular\}\{(r+)\}", text)[0])
    rows = [line for line in text.splitlines() if re.match(r"\d+ & ", line)]
    assert len(rows) == 2 and all(row.replace(r"\&", "").count("&") == columns - 1 for row in rows)
    spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d)\}", text)]
    assert sum(spans) == columns - 1
    assert r"\toprule" in text and r"\midrule" in text and r"\bottomrule" in text


def test_wide_latex_table_spans_the_page(analyzed):
    experiment = analyzed("analyze.published=ddpm_cifar10")
    wide, narrow = (to_latex(by_name(experiment)[name]) for name in ("table345_triangle", "table2_noise_mapping"))
    assert r"\begin{table*}" in wide and r"\resizebox{\textwidth}" in wide
    assert r"\begin{table}" in narrow and r"\resizebox" not in narrow


def test_all_tables_are_written(analyzed):
    experiment = analyzed()
    folder = report_folder(experiment) / "tables"
    written = write_tables(tables(experiment), folder)
    assert written == [folder / f"{layout.name}.{kind}" for layout in LAYOUTS for kind in ("csv", "md", "tex")]
    assert sorted(folder.iterdir()) == sorted(written)
    assert [file.read_text() for file in written] == [
        file.read_text() for file in write_tables(tables(experiment), folder)
    ]
