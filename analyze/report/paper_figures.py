"""The paper's figures as PDF and PNG files in report/figures."""

import dataclasses
import functools
import io
import logging
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyze.analysis import Analysis
from analyze.curves import Curve, curves
from analyze.generate import trajectory_steps
from analyze.generations import Generations
from analyze.measures.mistakes import MappingMistakes, mapping_mistakes
from analyze.report.figures.curves import (
    ALIGNMENT,
    EARLY_INVERTER_FIGURES,
    NEIGHBORHOODS,
    NOISE_MAPPING,
    PLAIN_FIGURES,
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
from analyze.report.figures.self_interpolation import (
    DISTANCES,
    draw_interpolation_distances,
    draw_self_interpolations,
)
from analyze.report.figures.style import styled
from analyze.report.figures.triangle import SIDES, draw_triangle
from analyze.report.metrics import CORNERS
from analyze.report.paper_tables import FinalNumbers, final_numbers
from configs.schema import Analyze
from records.atomic import write_bytes

METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}  # reproducible files

log = logging.getLogger(__name__)


class NotMeasured(Exception):
    """Reason why a figure cannot be drawn yet."""


@dataclass(frozen=True)
class StudyResults:
    """Available results of a study: numbers of all seeds, pictures of the first seed."""

    analyses: Sequence[Analysis]

    @property
    def options(self) -> Analyze:
        return self.analyses[0].options

    @functools.cached_property
    def curves(self) -> dict[str, Curve]:
        return curves(self.analyses)

    @functools.cached_property
    def final(self) -> FinalNumbers:
        """Numbers at the last step. Raises NotMeasured if there are none."""
        numbers = final_numbers(self.options, self.curves)
        if numbers is None:
            raise NotMeasured("nothing has been measured yet")
        return numbers

    def mean(self, name: str) -> float:
        """Return a metric at the last step, averaged over the seeds with results at this step."""
        if name not in self.final.values:
            raise NotMeasured(f"{name} is not measured at step {self.final.step}")
        return statistics.fmean(self.final.values[name])

    def final_values(self, measure: str) -> list[dict[str, Any]]:
        """Return the values of a measure at the last step for each seed. Raises NotMeasured if there are none."""
        stored = [analysis.current_results(self.final.step).get(measure, {}) for analysis in self.analyses]
        values = [result["values"] for result in stored if "values" in result]
        if not values:
            raise NotMeasured(f"{measure} is not measured at step {self.final.step}")
        return values

    @functools.cached_property
    def pictured(self) -> Analysis:
        """First seed whose last checkpoint is analyzed."""
        for analysis in self.analyses:
            if analysis.steps and analysis.results(analysis.last_step):
                return analysis
        raise NotMeasured("the last checkpoint of every seed is not analyzed yet")

    @property
    def last(self) -> Generations:
        """Generations of the pictured seed's last checkpoint."""
        return self.pictured.generations(self.pictured.last_step)

    @functools.cached_property
    def mistakes(self) -> MappingMistakes:
        return mapping_mistakes(self.last["noise"][: self.mapped], self.last["samples"][: self.mapped])

    @property
    def mapped(self) -> int:
        """Number of images among which the noise mapping counts mistakes."""
        return min(self.options.measures.mapping_images, len(self.last.images))


def write_figures(results: StudyResults, folder: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Draw all or the named figures and return their files; log why a figure is omitted, and remove its old files."""
    written = []
    for name in FIGURES if names is None else names:
        files = [folder / f"{name}.{kind}" for kind in METADATA]
        try:
            figure = FIGURES[name](results)
        except NotMeasured as reason:
            log.warning("%s is omitted: %s", name, reason)
            for file in files:
                file.unlink(missing_ok=True)
            continue
        for file in files:
            _write(figure, file)
        written += files
    return written


@styled
def _write(figure: Figure, file: Path) -> None:
    """Write a figure as PNG or PDF; equal figures give equal files."""
    kind = file.suffix[1:]
    data = io.BytesIO()  # written straight to a full disk, a PDF ends in another error of Matplotlib
    figure.savefig(data, format=kind, metadata=METADATA[kind])
    write_bytes(file, data.getvalue())


def _pictures(results: StudyResults) -> Figure:
    last = results.last
    return draw_pictures(last["noise"], last.images, last["latents"])


def _triangle(results: StudyResults) -> Figure:
    """Draw the mean over seeds of the most probable triangle, whose angles also add up to 180°."""
    angles = {corner: results.mean(f"triangle/{corner}_most_probable") for corner in CORNERS}
    return draw_triangle(angles, {side: results.mean(f"distances/{side}") for side in SIDES})


def _interpolation(results: StudyResults) -> Figure:
    maps, ddim_steps = results.final_values("interpolation_map"), results.options.ddim_steps
    times = [ddim_steps - done for done in trajectory_steps(ddim_steps)]
    return draw_interpolation(times, maps[0]["lambdas"], np.mean([values["mean"] for values in maps], axis=0).tolist())


def _curves(spec: CurveFigure) -> Callable[[StudyResults], Figure]:
    def draw_spec(results: StudyResults) -> Figure:
        _check_measured(results, [spec])
        return draw(spec, results.curves)

    return draw_spec


def _panels(specs: Sequence[CurveFigure]) -> Callable[[StudyResults], Figure]:
    def draw_specs(results: StudyResults) -> Figure:
        _check_measured(results, specs)
        return draw_panels(specs, results.curves)

    return draw_specs


def _check_measured(results: StudyResults, specs: Sequence[CurveFigure]) -> None:
    keys = [key for spec in specs for key in spec.curves]
    if not results.curves.keys() & set(keys):
        raise NotMeasured(f"none of {', '.join(keys)} is measured")


def _self_interpolation(results: StudyResults) -> Figure:
    lambdas = results.final_values("self_interpolation")[0]["lambdas"]
    return draw_self_interpolations(lambdas, results.last.interpolation_images)


def _interpolation_distances(results: StudyResults) -> Figure:
    values = results.final_values("self_interpolation")
    distances = {key: [seed[key] for seed in values if seed[key]] for key in DISTANCES}
    return draw_interpolation_distances(values[0]["lambdas"], {key: rows for key, rows in distances.items() if rows})


def _mistakes(results: StudyResults) -> Figure:
    return draw_mistakes(results.last.images.first(results.mapped), results.mistakes)


def _variance(results: StudyResults) -> Figure:
    samples = results.last["samples"][: results.mapped]
    return draw_by_variance(samples, results.last.images, results.mistakes.images_by_variance)


def _training(results: StudyResults) -> Figure:
    analysis = results.pictured
    steps = spread([step for step in analysis.steps if analysis.results(step)])
    samples = {step: analysis.generations(step)["samples"][:NOISES_SHOWN].clone() for step in steps}
    return draw_training(results.last["noise"], samples)


FIGURES: dict[str, Callable[[StudyResults], Figure]] = {
    "fig01_pictures": _pictures,
    "fig02_triangle": _triangle,
    "fig03_interpolation": _interpolation,
    "fig04_early_inverter": _panels(EARLY_INVERTER_FIGURES),
    "fig05_noise_mapping": _curves(NOISE_MAPPING),
    "fig06_knn_coverage": _curves(NEIGHBORHOODS),
    "fig07_alignment": _curves(ALIGNMENT),
    "fig08_mapping_mistakes": _mistakes,
    "fig09_pixel_variance": _variance,
    "fig10_alignment_linear": _curves(dataclasses.replace(ALIGNMENT, linear_steps=True)),
    "fig11_training": _training,  # figure 12 is the same for another model
    "plain_areas": _panels(PLAIN_FIGURES),
    "self_interpolation": _self_interpolation,
    "self_interpolation_distances": _interpolation_distances,
}
