"""An experiment on a page of several."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from analyze.report.page.pictures import pictured_steps
from analyze.report.training_curves import training_curves
from configs.schema import Experiment


@dataclass(frozen=True)
class Compared:
    """One of the experiments, with a unique label."""

    label: str
    experiment: Experiment

    @functools.cached_property
    def analyses(self) -> list[SeedAnalysis]:
        return [SeedAnalysis(self.experiment, seed) for seed in self.experiment.seeds]

    @functools.cached_property
    def measured(self) -> Mapping[str, Curve]:
        return curves(self.analyses)

    @functools.cached_property
    def curves(self) -> Mapping[str, Curve]:
        return {**self.measured, **training_curves(self.analyses)}

    @functools.cached_property
    def pictured(self) -> SeedAnalysis:
        """First seed with results."""
        return next(analysis for analysis in self.analyses if pictured_steps(analysis))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images."""
        model = self.experiment.model
        return model.in_channels, model.image_size, model.image_size

    @property
    def noise(self) -> tuple[tuple[int, int, int], int]:
        """Everything the noise depends on: experiments that agree in it start from the same noise."""
        return self.shape, self.experiment.analyze.noise_seed
