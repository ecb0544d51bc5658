"""Curves of the training logs, thinned to the resolution of a plot."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve
from analyze.report.figures.curves import TRAINING_FIGURE
from records.sealed import is_number
from records.tracking.points import read_points

TRAINING_POINTS = 300


def training_curves(analyses: Sequence[SeedAnalysis]) -> dict[str, Curve]:
    """Return the curves of TRAINING_FIGURE from the training logs, thinned to the resolution of a plot."""
    values: dict[str, dict[int, list[float]]] = {key: {} for key in TRAINING_FIGURE.curves}
    logs = [read_points(analysis.run.log) for analysis in analyses]
    steps = {point["step"] for points in logs for point in points}
    for points in logs:
        for key, by_step in values.items():
            logged = {point["step"]: point[key] for point in points if is_number(point.get(key))}
            for step, value in thin(logged, steps).items():
                by_step.setdefault(step, []).append(value)
    return {key: Curve(key, dict(sorted(by_step.items()))) for key, by_step in values.items() if by_step}


def thin(values: Mapping[int, float], steps: Collection[int], count: int = TRAINING_POINTS) -> Mapping[int, float]:
    """Average values by step over logarithmically growing intervals of all logged `steps`, at most `count` of them.

    An average is placed at the last step of its interval, like a logged value, which is a mean since the previous one.
    """
    if len(steps) <= count:
        return values
    intervals: dict[int, list[int]] = {}
    scale = (count - 1) / math.log(max(steps))
    for step in values:
        intervals.setdefault(math.floor(scale * math.log(max(step, 1))), []).append(step)
    return {steps[-1]: statistics.fmean(values[step] for step in steps) for steps in intervals.values()}
