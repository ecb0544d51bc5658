"""What is measured of each checkpoint. One measure is one function in one file, and one line below.

A measure's parameters say what it needs: any of the tensors of `analyze.generations`, and by keyword options of
`configs.schema.Measures`. It returns a dataclass of numbers. What needs reconstructions or a trajectory is measured
of the last checkpoint alone.
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from analyze.measures.cka import cka
from analyze.measures.correlation import correlation
from analyze.measures.dino import dino
from analyze.measures.distances import distances
from analyze.measures.early_inverter import early_inverter
from analyze.measures.fid import fid
from analyze.measures.interpolation import interpolation_map
from analyze.measures.knn_coverage import knn_coverage
from analyze.measures.noise_mapping import noise_mapping
from analyze.measures.reconstruction import reconstruction
from analyze.measures.ssim import ssim
from analyze.measures.svcca import svcca
from analyze.measures.triangle import triangle
from configs.errors import UserError, first_line
from configs.schema import Measures

# Tensors that hold something of each of the same images, and so have the same shape.
ONE_SHAPE = frozenset({"noise", "samples", "latents", "last_samples", "last_latents", "reconstructions"})


class MeasureFailed(Exception):
    """Which measure failed, and with what."""


@dataclass(frozen=True)
class Measure:
    """A measure's function and what its signature asks for."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def inputs(self) -> list[str]:
        return [name for name, kind in self._parameters() if kind is not inspect.Parameter.KEYWORD_ONLY]

    def options(self, chosen: Measures) -> dict[str, Any]:
        """The options that this measure's numbers depend on, with their values."""
        names = [name for name, kind in self._parameters() if kind is inspect.Parameter.KEYWORD_ONLY]
        return {name: getattr(chosen, name) for name in names}

    def is_on(self, chosen: Measures) -> bool:
        """Whether it is measured: an option that is null switches its measure off."""
        return None not in self.options(chosen).values()

    @property
    def needs_last(self) -> bool:
        """Whether its numbers depend on the last checkpoint's images as well."""
        return any(name.startswith("last_") for name in self.inputs)

    def values(self, tensors: dict[str, Tensor], chosen: Measures) -> dict[str, Any]:
        """The measure's numbers by name.

        Raises UserError where images that belong together differ in shape, and naming the measure where it fails.
        """
        shapes = {name: tuple(tensors[name].shape) for name in self.inputs if name in ONE_SHAPE}
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise UserError(f"{self.name} compares images of one shape [N, C, H, W]; here are {told}")
        try:
            result = self.function(*(tensors[name] for name in self.inputs), **self.options(chosen))
        except UserError:
            raise
        except Exception as error:
            raise MeasureFailed(f"{self.name} fails: {type(error).__name__}: {first_line(error)}") from error
        return dataclasses.asdict(result)

    def _parameters(self) -> list[tuple[str, Any]]:
        return [(name, parameter.kind) for name, parameter in inspect.signature(self.function).parameters.items()]


MEASURES = [
    Measure(noise_mapping),
    Measure(knn_coverage),
    Measure(cka),
    Measure(svcca),
    Measure(ssim),
    Measure(dino),
    Measure(fid),
    Measure(triangle),
    Measure(distances),
    Measure(early_inverter),
    Measure(correlation),
    Measure(reconstruction),
    Measure(interpolation_map),
]
