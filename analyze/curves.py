"""Curves of all metrics: mean ± standard deviation over seeds against the training step."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analyze.analysis import Analysis
from records.sealed import is_number


@dataclass(frozen=True)
class Curve:
    """A metric against the training step; `values[step]` has one entry per seed analyzed at this step."""

    name: str  # "measure/value", as in W&B
    values: dict[int, list[float]]

    @property
    def steps(self) -> list[int]:
        return list(self.values)

    @property
    def mean(self) -> list[float]:
        return [statistics.fmean(values) for values in self.values.values()]

    @property
    def std(self) -> list[float]:
        """Standard deviation over seeds (N − 1); 0 for a single seed."""
        return [_std(values) or 0.0 for values in self.values.values()]

    def at(self, step: int) -> tuple[float, float | None]:
        """Return mean and standard deviation over seeds at a step; the latter is None for a single seed."""
        values = self.values[step]
        return statistics.fmean(values), _std(values)


def _std(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def seed_points(analysis: Analysis) -> list[dict[str, float]]:
    """Return one point per analyzed checkpoint of a seed, ascending: {"step": …, "cka/biased": …, …}."""
    return [_point(step, results) for step, results in _stored(analysis)]


def _stored(analysis: Analysis) -> Iterator[tuple[int, dict]]:
    """Yield each analyzed step with its results by measure."""
    for step in analysis.steps:
        if results := analysis.current_results(step):
            yield step, results


def _point(step: int, results: dict) -> dict[str, float]:
    return {"step": step, **_flatten(results)}


def _flatten(results: dict) -> dict[str, float]:
    """Return the numbers of all measures by "measure/value", without maps and unavailable measures."""
    return {
        f"{measure}/{key}": value
        for measure, result in results.items()
        for key, value in result.get("values", {}).items()
        if is_number(value)
    }


def curves(analyses: Sequence[Analysis]) -> dict[str, Curve]:
    """Return the curve of every metric by name.

    Comparisons with an earlier last checkpoint than that of another seed are left out.
    """
    stored = [pair for analysis in analyses for pair in _stored(analysis)]
    last = _last_step(analyses, [result for _, results in stored for result in results.values()])
    points = [_point(step, _compared_with(last, results)) for step, results in stored]
    values: dict[str, dict[int, list[float]]] = {}
    for point in sorted(points, key=lambda point: point["step"]):
        for name, value in point.items():
            if name != "step":
                values.setdefault(name, {}).setdefault(int(point["step"]), []).append(value)
    return {name: Curve(name, by_step) for name, by_step in values.items()}


def _last_step(analyses: Sequence[Analysis], results: Sequence[dict]) -> int:
    """Return the furthest last checkpoint that results are compared with, preferably one that still belongs to them."""
    compared = {step for result in results if isinstance(step := result.get("last_step"), int)}
    existing = {step for analysis in analyses for step in analysis.steps}
    return max(compared & existing or compared, default=0)


def _compared_with(last_step: int, results: dict) -> dict:
    return {measure: result for measure, result in results.items() if result.get("last_step", last_step) == last_step}
