"""Reproducibility of the images from the same noise: between experiments, and between the seeds of each."""

import functools
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from analyze.analysis import SeedAnalysis
from analyze.generations import devices
from analyze.measures.dino import dino_features
from analyze.measures.reproducibility import ALIKE_ABOVE, Reproducibility, pixel_reproducibility, reproducibility
from analyze.measures.unavailable import Unavailable
from analyze.report.compared import Compared
from analyze.report.page.blocks import Block, Grid, Section, Text
from analyze.report.page.plots import value_text
from records.progress import progress

DINO_IMAGES = 256  # per run, because each takes a pass through a vision transformer
LEAD = (
    "Similarity of the images that two runs generate from the same noise, at the last analyzed checkpoint of each. The "
    f"RP score is the percentage of images with a similarity above {ALIKE_ABOVE}. “Unrelated” is the value of images "
    "from different noises, which are similar by chance. Experiments are compared seed by seed if they share seeds; "
    "runs of equal seeds start from the same weights if their networks are equal. Numbers are means over pairs of "
    "runs, ± one standard deviation."
)
HEADER = ("compared", "pairs of runs", "images", "RP score (%)", "unrelated (%)", "mean similarity", "unrelated")


@dataclass(frozen=True)
class Run:
    """Images of the last analyzed checkpoint of a seed."""

    analysis: SeedAnalysis

    @property
    def samples(self) -> Tensor:
        """Images [N, C, H, W] on the measuring device."""
        step = max(step for step in self.analysis.steps if self.analysis.results(step))
        return self.analysis.generations(step)["samples"].to(devices()[0])

    @functools.cached_property
    def features(self) -> Tensor:
        """DINO features of the first images. Raises Unavailable if the model cannot be loaded."""
        return dino_features(self.samples[:DINO_IMAGES], str(self.analysis.options.measures.dino_model))


@dataclass(frozen=True)
class Group:
    """Pairs of runs whose numbers are averaged: of two experiments, or of two seeds of one."""

    label: str
    pairs: Sequence[tuple[Run, Run]]


def groups(compared: Sequence[Compared]) -> list[Group]:
    """Return the groups of runs that start from the same noise and have results; empty groups are omitted."""
    runs = [
        [Run(analysis) for analysis in entry.analyses if any(map(analysis.results, analysis.steps))]
        for entry in compared
    ]
    numbers = itertools.combinations(range(len(compared)), 2)
    between = [
        Group(f"{compared[i].label} – {compared[j].label}", _pairs(runs[i], runs[j]))
        for i, j in numbers
        if compared[i].noise == compared[j].noise
    ]
    within = [
        Group(f"seeds of {entry.label}", list(itertools.combinations(own, 2)))
        for entry, own in zip(compared, runs, strict=True)
    ]
    return [group for group in between + within if group.pairs]


def _pairs(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Return the pairs of runs with the same seed, or all pairs if no seed is the same."""
    pairs = list(itertools.product(first, second))
    return [(a, b) for a, b in pairs if a.analysis.seed == b.analysis.seed] or pairs


@dataclass(frozen=True)
class Agreement:
    """Similarities of a group: one result per pair of runs, each over the same number of images."""

    label: str
    images: int
    results: Sequence[Reproducibility]

    def text(self, value: str, scale: float = 1.0) -> str:
        """Format a value of the results: mean ± standard deviation over the pairs of runs."""
        values = [getattr(result, value) for result in self.results]
        return value_text(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, scale)

    @property
    def row(self) -> list[str]:
        numbers = [self.text("score", 100), self.text("unrelated_score", 100), self.text("cosine")]
        return [self.label, str(len(self.results)), f"{self.images:,}", *numbers, self.text("unrelated_cosine")]


def by_pixels(groups: Sequence[Group]) -> list[Agreement]:
    return _compare(groups, lambda run: run.samples, pixel_reproducibility)


def by_features(groups: Sequence[Group]) -> list[Agreement]:
    """Compare DINO features. Raises Unavailable if the model cannot be loaded."""
    return _compare(groups, lambda run: run.features, reproducibility)


def _compare(
    groups: Sequence[Group],
    descriptors: Callable[[Run], Tensor],
    compare: Callable[[Tensor, Tensor], Reproducibility],
) -> list[Agreement]:
    """Compare the runs of all groups, each pair on the images that both have."""
    agreements = []
    with progress("comparing images", sum(len(group.pairs) for group in groups), "pair") as bar:
        for group in groups:
            results = []
            for first, second in group.pairs:
                a, b = descriptors(first), descriptors(second)
                images = min(len(a), len(b))
                results.append(compare(a[:images], b[:images]))
                bar.update()
            agreements.append(Agreement(group.label, images, results))
    return agreements


def reproducibility_section(
    compared: Sequence[Compared], groups: Sequence[Group], pixels: Sequence[Agreement]
) -> Section:
    """Return tables of all groups, and a sentence for each two experiments that start from different noise."""
    blocks: list[Block] = [Grid("Similarity of pixels", HEADER, [group.row for group in pixels])] if pixels else []
    blocks += [Text(sentence) for sentence in different_noise(compared)]
    models = {entry.experiment.analyze.measures.dino_model for entry in compared}
    if groups and len(models) == 1 and None not in models:
        blocks.append(_features_table(groups))
    return Section("reproducibility", "Reproducibility", blocks, LEAD)


def _features_table(groups: Sequence[Group]) -> Block:
    try:
        rows = [group.row for group in by_features(groups)]
    except Unavailable as reason:
        return Text(f"Not measured with DINO: {reason}.")
    return Grid("Similarity of DINO features", HEADER, rows)


def different_noise(compared: Sequence[Compared]) -> list[str]:
    """Return one sentence for each two experiments whose images cannot be compared."""
    return [
        f"{a.label} – {b.label}: not comparable, because {_difference(a, b)}."
        for a, b in itertools.combinations(compared, 2)
        if a.noise != b.noise
    ]


def _difference(a: Compared, b: Compared) -> str:
    if a.shape != b.shape:
        return f"the images have different shapes, {list(a.shape)} and {list(b.shape)}"
    seeds = (entry.experiment.analyze.noise_seed for entry in (a, b))
    return "the images start from different noise, analyze.noise_seed={} and {}".format(*seeds)


def reproducibility_finding(pixels: Sequence[Agreement]) -> str:
    """Return a sentence with the RP scores of all groups."""
    scores = [
        f"{group.text('score', 100)} % for {group.label} (unrelated: {group.text('unrelated_score', 100)} %)"
        for group in pixels
    ]
    return f"Images from the same noise that are alike (pixel correlation above {ALIKE_ABOVE}): {'; '.join(scores)}."
