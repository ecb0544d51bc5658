"""The paper's figures of a study, as files that can be printed: report/figures/fig01_pictures.pdf, ….png, …"""

import dataclasses
import functools
import logging
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyze.analysis import Analysis, SeedAnalysis
from analyze.curves import Curve, curves
from analyze.generate import trajectory_steps
from analyze.generations import Generations
from analyze.measures.mistakes import MappingMistakes, mapping_mistakes
from analyze.report.figures.curves import (
    ALIGNMENT,
    EARLY_INVERTER_FIGURES,
    NEIGHBOURHOODS,
    NOISE_MAPPING,
    CurveFigure,
    draw,
    draw_panels,
)
from analyze.report.figures.interpolation import draw_interpolation
from analyze.report.figures.pictures import (
    NOISES_SHOWN,
    draw_by_variance,
    draw_mistakes,
    draw_pictures,
    draw_training,
    spread,
)
from analyze.report.figures.style import styled
from analyze.report.figures.triangle import CORNERS, SIDES, draw_triangle
from analyze.report.paper_tables import Final, final_numbers
from configs.schema import Analyze, Experiment
from records.atomic import atomic_file
from records.layout import report_folder

METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}  # no dates

log = logging.getLogger(__name__)


class NotMeasured(Exception):
    """Why a figure cannot be drawn yet."""


@dataclass(frozen=True)
class StudyResults:
    """What is measured so far: numbers of all seeds, pictures of the first."""

    analyses: Sequence[Analysis]

    @classmethod
    def of(cls, experiment: Experiment) -> "StudyResults":
        return cls([SeedAnalysis(experiment, seed) for seed in experiment.seeds])

    @property
    def options(self) -> Analyze:
        return self.analyses[0].options

    @functools.cached_property
    def curves(self) -> dict[str, Curve]:
        return curves(self.analyses)

    @functools.cached_property
    def final(self) -> Final:
        found = final_numbers(self.options, self.curves)
        if found is None:
            raise NotMeasured("nothing is measured yet")
        return found

    def mean(self, name: str) -> float:
        """A number at the last step, mean over the seeds that have got there."""
        if name not in self.final.values:
            raise NotMeasured(f"{name} is not measured at step {self.final.step}")
        return statistics.fmean(self.final.values[name])

    @functools.cached_property
    def pictured(self) -> Analysis:
        """The first seed whose last checkpoint is analysed."""
        for one in self.analyses:
            if one.steps and one.results(one.last_step):
                return one
        raise NotMeasured("no seed's last checkpoint is analysed yet")

    @property
    def last(self) -> Generations:
        return self.pictured.generations(self.pictured.last_step)

    @functools.cached_property
    def mistakes(self) -> MappingMistakes:
        return mapping_mistakes(self.last["noise"][: self.mapped], self.last["samples"][: self.mapped])

    @property
    def mapped(self) -> int:
        """As many images as noise mapping counts its mistakes among."""
        return min(self.options.measures.mapping_images, len(self.last.images))


def write_figures(experiment: Experiment) -> list[Path]:
    """Draws all figures of an experiment into its report's folder, and returns the files."""
    return write_all(StudyResults.of(experiment), FIGURES, report_folder(experiment) / "figures")


def write_all(study: StudyResults, names: Iterable[str], folder: Path) -> list[Path]:
    """Draws those of the named figures that the measures suffice for, and returns the files; logs why not the others.

    A figure of earlier numbers that are gone by now is removed.
    """
    written = []
    for name in names:
        files = [folder / f"{name}.{kind}" for kind in METADATA]
        try:
            figure = FIGURES[name](study)
        except NotMeasured as reason:
            log.warning("%s is not drawn: %s", name, reason)
            for file in files:
                file.unlink(missing_ok=True)
            continue
        for file in files:
            write(figure, file)
        written += files
    return written


@styled
def write(figure: Figure, file: Path) -> None:
    """Writes a figure as PNG or PDF; the same figure is always the same file."""
    kind = file.suffix[1:]
    with atomic_file(file) as aside:
        figure.savefig(aside, format=kind, metadata=METADATA[kind])


def _pictures(study: StudyResults) -> Figure:
    last = study.last
    return draw_pictures(last["noise"], last.images, last["latents"])


def _triangle(study: StudyResults) -> Figure:
    """The mean over seeds of the most probable triangle is a triangle as well: its angles add up to 180°."""
    angles = {corner: study.mean(f"triangle/{corner}_most_probable") for corner in CORNERS}
    return draw_triangle(angles, {side: study.mean(f"distances/{side}") for side in SIDES})


def _interpolation(study: StudyResults) -> Figure:
    results = [one.results(study.final.step).get("interpolation_map", {}) for one in study.analyses]
    maps = [result["values"] for result in results if "values" in result]
    if not maps:
        raise NotMeasured(f"interpolation_map is not measured at step {study.final.step}")
    ddim_steps = study.options.ddim_steps
    times = [ddim_steps - done for done in trajectory_steps(ddim_steps)]
    return draw_interpolation(times, maps[0]["lambdas"], np.mean([one["mean"] for one in maps], axis=0).tolist())


def _curves(spec: CurveFigure) -> Callable[[StudyResults], Figure]:
    def drawn(study: StudyResults) -> Figure:
        _check(study, [spec])
        return draw(spec, study.curves)

    return drawn


def _early_inverter(study: StudyResults) -> Figure:
    _check(study, EARLY_INVERTER_FIGURES)
    return draw_panels(EARLY_INVERTER_FIGURES, study.curves)


def _check(study: StudyResults, specs: Sequence[CurveFigure]) -> None:
    wanted = [name for spec in specs for name in spec.curves]
    if not study.curves.keys() & set(wanted):
        raise NotMeasured(f"none of {', '.join(wanted)} is measured")


def _mistakes(study: StudyResults) -> Figure:
    return draw_mistakes(study.last.images[: study.mapped], study.mistakes)


def _variance(study: StudyResults) -> Figure:
    samples, images = study.last["samples"][: study.mapped], study.last.images[: study.mapped]
    return draw_by_variance(samples, images, study.mistakes.images_by_variance)


def _training(study: StudyResults) -> Figure:
    one = study.pictured
    steps = spread([step for step in one.steps if one.results(step)])
    samples = {
        step: one.generations(step)["samples"][:NOISES_SHOWN].clone() for step in steps
    }  # not all of them at once
    return draw_training(study.last["noise"], samples)


FIGURES: dict[str, Callable[[StudyResults], Figure]] = {
    "fig01_pictures": _pictures,
    "fig02_triangle": _triangle,
    "fig03_interpolation": _interpolation,
    "fig04_early_inverter": _early_inverter,
    "fig05_noise_mapping": _curves(NOISE_MAPPING),
    "fig06_knn_coverage": _curves(NEIGHBOURHOODS),
    "fig07_alignment": _curves(ALIGNMENT),
    "fig08_mapping_mistakes": _mistakes,
    "fig09_pixel_variance": _variance,
    "fig10_alignment_linear": _curves(dataclasses.replace(ALIGNMENT, linear_steps=True)),
    "fig11_training": _training,  # and figure 12, which is of another model
}
