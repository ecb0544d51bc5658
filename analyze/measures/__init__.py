"""Registry of the measures computed for each checkpoint. Each measure is one function in one file, plus an import and
an entry below.

The signature of a measure declares its inputs: positional parameters name tensors of `analyze.generations`, and
keyword-only parameters name options of `configs.schema.Measures`. The parameter `generations` is the
`analyze.generations.Generations` object itself, for measures that run the network; they are computed at the
checkpoints that `inversion_checkpoints` selects. Measures of reconstructions or of a trajectory are computed for the
last checkpoint only. A measure returns a dataclass or a dictionary; its numbers become curves.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyze.generations import training_images_requirement
from analyze.measures.cka import cka
from analyze.measures.contraction import contraction
from analyze.measures.correlation import correlation
from analyze.measures.dino import dino, dino_requirements
from analyze.measures.distances import distances
from analyze.measures.early_inverter import early_inverter
from analyze.measures.fid import fid, fid_requirements
from analyze.measures.forward_start import forward_start
from analyze.measures.hungarian import hungarian
from analyze.measures.interpolation import interpolation_map
from analyze.measures.inverters import VERSION as INVERTERS_VERSION
from analyze.measures.inverters import inverters
from analyze.measures.knn_coverage import knn_coverage
from analyze.measures.noise_mapping import noise_mapping
from analyze.measures.plain_areas import plain_areas
from analyze.measures.reconstruction import reconstruction
from analyze.measures.self_interpolation import self_interpolation
from analyze.measures.ssim import ssim
from analyze.measures.step_error import step_error
from analyze.measures.svcca import svcca
from analyze.measures.transport_gap import transport_gap
from analyze.measures.triangle import triangle
from configs.errors import UserError, first_line, is_full_disk
from configs.schema import Measures

# Inputs with one entry per generated image, which therefore have the same shape.
SAME_SHAPE_INPUTS = frozenset({"noise", "samples", "latents", "last_samples", "last_latents", "reconstructions"})


class MeasureFailed(Exception):
    """An unexpected error in a measure. The message names the measure and the cause."""


@dataclass(frozen=True)
class Measure:
    """A measure's function and the requirements read from its signature.

    Increase `version` when the definition of a measure changes: stored results of an earlier version become stale.
    `requirements` returns, for the options and the folder of training images, which files and packages the measure
    requires and whether each is present. An unavailable measure is tried again when that has changed, and one that
    does without some of them when one becomes present.
    """

    function: Callable[..., Any]
    version: int = 1
    requirements: Callable[[Measures, Path | None], dict[str, bool]] = lambda options, training: {}

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def inputs(self) -> list[str]:
        return [name for name, kind in self._parameters() if kind is not inspect.Parameter.KEYWORD_ONLY]

    def options(self, config: Measures) -> dict[str, Any]:
        """Return the options that the measure depends on, with their values."""
        names = [name for name, kind in self._parameters() if kind is inspect.Parameter.KEYWORD_ONLY]
        return {name: getattr(config, name) for name in names}

    def conditions(self, config: Measures) -> dict[str, Any]:
        """Return the options and version that are stored with a result; the result is stale if either changes.

        Version 1 is omitted, so results stored without a version stay fresh.
        """
        version = {"version": self.version} if self.version > 1 else {}
        return {"options": self.options(config), **version}

    def is_on(self, config: Measures) -> bool:
        """Return whether the measure is enabled. Setting one of its options to null disables it."""
        return None not in self.options(config).values()

    @property
    def needs_network(self) -> bool:
        """Whether the measure runs the network."""
        return "generations" in self.inputs

    @property
    def needs_last(self) -> bool:
        """Whether the measure also depends on the images of the last checkpoint."""
        return any(name.startswith("last_") for name in self.inputs)

    def values(self, tensors: Mapping[str, Any], config: Measures) -> dict[str, Any]:
        """Compute the measure and return its numbers by name; `tensors` contains its inputs.

        Raises UserError if inputs that must have the same shape differ, OSError if the disk is full, and MeasureFailed
        if the function raises anything else.
        """
        shapes = {name: tuple(tensors[name].shape) for name in self.inputs if name in SAME_SHAPE_INPUTS}
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise UserError(f"{self.name} requires inputs of the same shape [N, C, H, W], but got {listed}")
        try:
            result = self.function(*(tensors[name] for name in self.inputs), **self.options(config))
        except Exception as error:
            if isinstance(error, UserError) or is_full_disk(error):
                raise
            raise MeasureFailed(f"{self.name} failed: {type(error).__name__}: {first_line(error)}") from error
        return result if isinstance(result, dict) else dataclasses.asdict(result)

    def _parameters(self) -> list[tuple[str, Any]]:
        return [(name, parameter.kind) for name, parameter in inspect.signature(self.function).parameters.items()]


MEASURES = [
    Measure(noise_mapping),
    Measure(hungarian),
    Measure(transport_gap),
    Measure(knn_coverage),
    Measure(cka),
    Measure(svcca),
    Measure(ssim, version=2),  # version 1 included the border
    Measure(dino, requirements=dino_requirements),
    Measure(fid, requirements=fid_requirements),
    Measure(triangle),
    Measure(distances),
    Measure(early_inverter),
    Measure(correlation),
    Measure(plain_areas),
    Measure(reconstruction),
    Measure(interpolation_map),
    Measure(self_interpolation, version=2, requirements=training_images_requirement),  # 1 stored no requirements
    Measure(step_error, version=2),  # version 1 had no distances in plain and other pixels
    Measure(contraction, version=2),  # version 1 counted norms of exactly 1 as above 1
    Measure(forward_start),
    Measure(inverters, version=INVERTERS_VERSION, requirements=training_images_requirement),
]
