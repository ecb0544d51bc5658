"""The measures of all checkpoints and seeds → one curve a number: mean ± std over seeds against the step."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyze.analysis import Analysis


@dataclass(frozen=True)
class Curve:
    """A number against the training step; `values[step]` has one entry a seed that was analysed there."""

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
        """Standard deviation over seeds, with N − 1; 0 for a single one."""
        return [_std(values) or 0.0 for values in self.values.values()]

    def at(self, step: int) -> tuple[float, float | None]:
        """Mean and standard deviation over seeds at one of its steps, the latter None for a single seed."""
        values = self.values[step]
        return statistics.fmean(values), _std(values)


def _std(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def seed_points(analysis: Analysis) -> list[dict[str, float]]:
    """One point a checkpoint of a seed: {"step": …, "cka/biased": …, …}, ascending."""
    return [{"step": step, **_flat(analysis.results(step))} for step in analysis.steps if analysis.results(step)]


def _flat(results: dict) -> dict[str, float]:
    """The numbers of all measures by "measure/value"; maps and measures that could not be had are left out."""
    return {
        f"{measure}/{key}": value
        for measure, result in results.items()
        for key, value in result.get("values", {}).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def curves(analyses: Sequence[Analysis]) -> dict[str, Curve]:
    """Every curve by name."""
    values: dict[str, dict[int, list[float]]] = {}
    for point in sorted((point for one in analyses for point in seed_points(one)), key=lambda point: point["step"]):
        for name, value in point.items():
            if name != "step":
                values.setdefault(name, {}).setdefault(int(point["step"]), []).append(value)
    return {name: Curve(name, by_step) for name, by_step in values.items()}
