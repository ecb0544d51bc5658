"""The paper's figures of a study: all that can be drawn, as files that are always the same."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from analyze.analysis import SeedAnalysis
from analyze.generate import trajectory_steps
from analyze.report.figures.style import DPI
from analyze.report.paper_figures import FIGURES, METADATA, NotMeasured, StudyResults, write_figures
from records.atomic import write_json
from records.layout import report_folder

AGAIN = """
import sys
from analyze.report.paper_figures import write_figures
from configs.load import load
write_figures(load(sys.argv[1], sys.argv[2:]))
"""


@pytest.fixture
def texts_of():
    """A function: everything that is written in a figure."""
    return lambda figure: [one.get_text() for one in figure.findobj(Text)]


def forget(experiment, *measures: str) -> None:
    """As if these were never measured."""
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        for step in analysis.steps:
            kept = {name: result for name, result in analysis.results(step).items() if name not in measures}
            write_json(analysis.results_file(step), {"step": step, "measures": kept})


def test_all_figures_of_a_study_are_files(analyzed):
    experiment = analyzed()
    folder = report_folder(experiment) / "figures"
    files = write_figures(experiment)
    assert files == [folder / f"{name}.{kind}" for name in FIGURES for kind in METADATA]
    assert sorted(folder.iterdir()) == sorted(files)
    for png in folder.glob("*.png"):
        with Image.open(png) as image:
            assert image.width > 3 * DPI and np.ptp(np.asarray(image.convert("L"))) > 200
    for pdf in folder.glob("*.pdf"):
        content = pdf.read_bytes()
        assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF") and len(content) > 4000
        assert b"Date" not in content


def test_another_process_writes_the_same_files(analyzed, command_line, tmp_path, repository):
    """With another hash seed, and at another time."""
    experiment = analyzed("seeds=[0]")
    files = write_figures(experiment)
    first = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    arguments = command_line(tmp_path, "seeds=[0]")
    command = [sys.executable, "-c", AGAIN, *arguments]
    subprocess.run(command, cwd=repository, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert [file.read_bytes() for file in files] == first


def test_what_is_not_measured_is_skipped_with_a_reason(analyzed, caplog):
    experiment = analyzed()
    before = write_figures(experiment)
    forget(experiment, "interpolation_map", "early_inverter", "triangle")
    caplog.clear()
    after = write_figures(experiment)
    lacking = {"fig02_triangle", "fig03_interpolation", "fig04_early_inverter"}
    assert {file.stem for file in before} - {file.stem for file in after} == lacking
    assert not any(file.exists() for file in before if file.stem in lacking)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "fig02_triangle is not drawn: triangle/noise_most_probable is not measured at step 8" in said
    assert "fig03_interpolation is not drawn: interpolation_map is not measured at step 8" in said
    assert "fig04_early_inverter is not drawn: none of early_inverter/image_of_mean, " in said


def test_of_nothing_nothing_is_drawn(tiny, caplog):
    assert write_figures(tiny()) == []
    assert len(caplog.records) == len(FIGURES)


def test_numbers_are_means_over_seeds_at_the_last_step(analyzed):
    experiment = analyzed()
    values = [
        SeedAnalysis(experiment, seed).results(8)["distances"]["values"]["noise_latent"] for seed in experiment.seeds
    ]
    assert StudyResults.of(experiment).mean("distances/noise_latent") == pytest.approx(np.mean(values))
    with pytest.raises(NotMeasured, match="nowhere/found is not measured"):
        StudyResults.of(experiment).mean("nowhere/found")


def test_the_map_runs_over_the_trajectory_and_is_a_mean_over_seeds(analyzed):
    experiment = analyzed()
    mesh = FIGURES["fig03_interpolation"](StudyResults.of(experiment)).axes[0].collections[0]
    maps = [
        SeedAnalysis(experiment, seed).results(8)["interpolation_map"]["values"]["mean"] for seed in experiment.seeds
    ]
    np.testing.assert_allclose(mesh.get_array().T, np.mean(maps, axis=0))
    assert len(maps[0]) == len(trajectory_steps(experiment.analyze.ddim_steps))


def test_mistakes_are_counted_among_as_many_as_noise_mapping_has(analyzed, texts_of):
    experiment = analyzed("analyze.measures.mapping_images=5")
    assert any(
        " of 5 wrong" in text for text in texts_of(FIGURES["fig08_mapping_mistakes"](StudyResults.of(experiment)))
    )
