"""The paper's figures of a study: reproducible files of everything that can be drawn."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analyze.analysis import SeedAnalysis
from analyze.generate import trajectory_steps
from analyze.report.figures.style import DPI
from analyze.report.paper_figures import FIGURES, METADATA, NotMeasured, StudyResults, _write, write_figures
from records.atomic import write_json
from records.layout import report_folder

SCRIPT = """
import sys
from pathlib import Path
from analyze.analysis import SeedAnalysis
from analyze.report.paper_figures import StudyResults, write_figures
from configs.load import load
folder, config, *options = sys.argv[1:]
experiment = load(config, options)
write_figures(StudyResults([SeedAnalysis(experiment, seed) for seed in experiment.seeds]), Path(folder))
"""


@pytest.fixture
def texts_of():
    """Return a function that returns all texts of a figure."""
    return lambda figure: [text.get_text() for text in figure.findobj(Text)]


def results_of(experiment) -> StudyResults:
    return StudyResults([SeedAnalysis(experiment, seed) for seed in experiment.seeds])


@pytest.mark.parametrize("size", [20, 300, 600, 900, 1200])
def test_a_full_disk_is_reported_as_such(size, tmp_path):
    """Here, files have a maximum size, in bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    figure = Figure()
    figure.text(0.5, 0.5, "text")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            _write(figure, tmp_path / "figure.pdf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def forget(experiment, *measures: str) -> None:
    """Remove the results of measures."""
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        for step in analysis.steps:
            others = {name: result for name, result in analysis.results(step).items() if name not in measures}
            write_json(analysis.results_file(step), {"step": step, "measures": others})


@pytest.fixture
def self_interpolated(analyzed):
    """Return a function that returns an analyzed experiment, with images sampled between noises and latents."""

    def prepare(*overrides: str):
        experiment = analyzed("analyze.measures.inversion_checkpoints=last", *overrides)
        for seed in experiment.seeds:
            SeedAnalysis(experiment, seed, only="self_interpolation").analyze([8])
        return experiment

    return prepare


def test_all_figures_are_written(self_interpolated):
    experiment = self_interpolated()
    folder = report_folder(experiment) / "figures"
    files = write_figures(results_of(experiment), folder)
    assert files == [folder / f"{name}.{kind}" for name in FIGURES for kind in METADATA]
    assert sorted(folder.iterdir()) == sorted(files)
    for png in folder.glob("*.png"):
        with Image.open(png) as image:
            assert image.width > 3 * DPI and np.ptp(np.asarray(image.convert("L"))) > 200
    for pdf in folder.glob("*.pdf"):
        content = pdf.read_bytes()
        assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF") and len(content) > 4000
        assert b"Date" not in content


def test_figures_are_reproducible(analyzed, command_line, tmp_path, repository):
    """Another process with another hash seed writes the same bytes."""
    experiment = analyzed("seeds=[0]")
    folder = report_folder(experiment) / "figures"
    files = write_figures(results_of(experiment), folder)
    first = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    arguments = command_line(tmp_path, "seeds=[0]")
    command = [sys.executable, "-c", SCRIPT, str(folder), *arguments]
    subprocess.run(command, cwd=repository, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert [file.read_bytes() for file in files] == first


def test_unmeasured_figures_are_omitted_with_a_reason(analyzed, caplog):
    experiment = analyzed()
    folder = report_folder(experiment) / "figures"
    before = write_figures(results_of(experiment), folder)
    forget(experiment, "interpolation_map", "early_inverter", "triangle")
    caplog.clear()
    after = write_figures(results_of(experiment), folder)
    omitted = {"fig02_triangle", "fig03_interpolation", "fig04_early_inverter"}
    assert {file.stem for file in before} - {file.stem for file in after} == omitted
    assert not any(file.exists() for file in before if file.stem in omitted)
    log = "\n".join(record.getMessage() for record in caplog.records)
    assert "fig02_triangle is omitted: triangle/image_most_probable is not measured at step 8" in log
    assert "fig03_interpolation is omitted: interpolation_map is not measured at step 8" in log
    assert "fig04_early_inverter is omitted: none of early_inverter/image_of_mean, " in log


def test_no_results_give_no_figures(tiny, caplog):
    experiment = tiny()
    assert write_figures(results_of(experiment), report_folder(experiment)) == []
    assert len(caplog.records) == len(FIGURES)


def test_numbers_are_means_over_seeds_at_the_last_step(analyzed):
    experiment = analyzed()
    values = [
        SeedAnalysis(experiment, seed).results(8)["distances"]["values"]["noise_latent"] for seed in experiment.seeds
    ]
    assert results_of(experiment).mean("distances/noise_latent") == pytest.approx(np.mean(values))
    with pytest.raises(NotMeasured, match="no/metric is not measured"):
        results_of(experiment).mean("no/metric")


def test_interpolation_map_is_a_mean_over_seeds(analyzed):
    experiment = analyzed()
    mesh = FIGURES["fig03_interpolation"](results_of(experiment)).axes[0].collections[0]
    maps = [
        SeedAnalysis(experiment, seed).results(8)["interpolation_map"]["values"]["mean"] for seed in experiment.seeds
    ]
    np.testing.assert_allclose(mesh.get_array().T, np.mean(maps, axis=0))
    assert len(maps[0]) == len(trajectory_steps(experiment.analyze.ddim_steps))


def test_distances_between_noise_and_latent_are_those_of_all_seeds(self_interpolated):
    experiment = self_interpolated()
    (line,) = FIGURES["self_interpolation_distances"](results_of(experiment)).axes[0].lines  # no training images
    values = [SeedAnalysis(experiment, seed).results(8)["self_interpolation"]["values"] for seed in experiment.seeds]
    assert len(values) == 2 and values[0]["to_data"] == [] and values[0]["data_end"] is None
    np.testing.assert_allclose(line.get_ydata(), np.mean([seed["to_start"] for seed in values], axis=0))
    np.testing.assert_allclose(line.get_xdata(), values[0]["lambdas"])


def test_mistakes_are_counted_among_one_chunk_of_the_noise_mapping(analyzed, texts_of):
    experiment = analyzed("analyze.measures.mapping_images=5")
    assert any(" of 5 wrong" in text for text in texts_of(FIGURES["fig08_mapping_mistakes"](results_of(experiment))))
