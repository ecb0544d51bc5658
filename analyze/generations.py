"""Samples, latents and further tensors of one checkpoint, generated on first use and cached on disk.

generations/000002500/
  samples.safetensors   trajectory.safetensors   images.safetensors (of latent-diffusion models)
  inversions/ddim-T100/
    latents.safetensors   last_latents-000700000.safetensors   reconstructions.safetensors
    self_interpolations.safetensors   interpolation_images.safetensors (of latent-diffusion models)

With a vae_scaling_factor, decoded images have it in their names: images-scale0.18215.safetensors.

Tensors that are still being generated may be stored in slices, see `analyze.slices`.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from analyze import slices
from analyze.generate import decode, invert, sample, self_interpolations, trajectory
from analyze.settings import Setting
from configs.errors import UserError
from configs.schema import Analyze, Measures
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.solvers.solver import Solver
from diffusion.solvers.spacing import StridedSpacing, TimestepSpacing
from records.atomic import write_bytes
from records.layout import step_name

MAX_TRAINING_IMAGES = 50_000  # training images that generated images are compared with
TRAJECTORY_IMAGES = 256  # images whose trajectory is stored
SELF_INTERPOLATED_IMAGES = 16  # images whose noise and latent are interpolated
DECODED_IMAGES = 1_000  # codes that are decoded to images
NO_IMAGES = torch.empty(0, 1, 1, 1, dtype=torch.uint8)
NOT_CACHED = ("noise", "training_images", "last_samples")
ONLY_LAST = frozenset({"reconstructions", "trajectory"})  # generated from the last checkpoint only
DECODED = frozenset({"images", "interpolation_images"})  # uint8; all others are float32
OF_INVERTER = frozenset({"latents", "last_latents", "reconstructions", "self_interpolations", "interpolation_images"})


class LoadDenoiser(Protocol):
    """Opens the model on a device, `optimized` as the options require, or in float32 without compilation."""

    def __call__(self, device: torch.device, optimized: bool = True) -> Denoiser: ...


@dataclass(frozen=True)
class Images:
    """Stored images, float32 in [−1, 1] or uint8, of which an index returns the chosen ones in [−1, 1].

    All decoded images in float32 may exceed the memory.
    """

    stored: Tensor

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, chosen: Any) -> Tensor:
        images = self.stored[chosen]
        return images.float() / 127.5 - 1 if images.dtype is torch.uint8 else images

    def first(self, count: int) -> "Images":
        return Images(self.stored[:count])


@dataclass(frozen=True)
class Generations:
    """Tensors of one checkpoint by name, float32 on the CPU.

    [N, C, H, W]: noise x_T, samples x_0, latents x̂_T, last_samples (of the last checkpoint), last_latents
    (last_samples inverted by this checkpoint) and reconstructions (images sampled from the latents).
    [K, n, C, H, W]: trajectory. [L, n, C, H, W]: self_interpolations, images sampled from points between x_T and x̂_T.
    uint8 [M, C, H, W]: training_images, with M = 0 if the data set is not prepared.
    """

    folder: Path
    setting: Setting
    options: Analyze
    load_denoiser: LoadDenoiser
    spacing: TimestepSpacing = StridedSpacing()
    training: Path | None = None  # the prepared data set
    last: "Generations | None" = None  # of the last checkpoint; None if this is the last
    are_codes: bool = False  # whether samples are codes of an autoencoder
    vae_scaling_factor: float | None = None  # of the decoder of codes; None: the model's own
    part: range | None = None  # images of a slice; None: all

    def __getitem__(self, name: str) -> Tensor:
        if name == "noise":
            return self._noise(tuple(self["samples"].shape[1:]), self.images_of("noise"))
        if name == "training_images":
            return training_images(self.training) if self.training else NO_IMAGES
        if name == "last_samples":
            return (self.last or self)["samples"]
        if name == "last_latents" and self.last is None:
            return self["latents"]
        if name not in GENERATORS:
            known = ", ".join(sorted({*GENERATORS, *NOT_CACHED}))
            raise UserError(f'a measure has the parameter "{name}", which is not available; available are {known}')
        slices.require_readable(self.file(name))
        if self.part is None:
            return self._cached(name)
        is_stored = not slices.missing(self, name, self.part)
        return slices.read(self, name, self.images_of(name)) if is_stored else self._store(name, GENERATORS[name](self))

    def _cached(self, name: str) -> Tensor:
        file = self.file(name)
        tensor = read_tensor(file, name)
        if tensor is not None and self._fits(name, tensor):
            return tensor
        if name not in slices.SLICED or not slices.folder(file).exists():
            return self._store(name, GENERATORS[name](self))
        tensor = self._store(name, slices.join(self, name))
        slices.delete(self, name)
        return tensor

    def _fits(self, name: str, tensor: Tensor) -> bool:
        """Return whether a stored tensor has the type and the number of images that it was written with."""
        if tensor.dtype is not (torch.uint8 if name in DECODED else torch.float32):
            return False
        dimension = {**slices.SLICED, "last_latents": 0}.get(name)
        return dimension is None or tensor.shape[dimension : dimension + 1] == (len(self.images_of(name)),)

    def _store(self, name: str, tensor: Tensor) -> Tensor:
        write_bytes(self.file(name), serialize({name: tensor}))
        return tensor

    @property
    def whole(self) -> "Generations":
        """The tensors of all images."""
        return dataclasses.replace(self, part=None)

    def slice(self, part: range) -> "Generations":
        """Return the tensors of some images: noise, and those in `analyze.slices.SLICED`."""
        return dataclasses.replace(self, part=part)

    def images_of(self, name: str) -> range:
        """Return the numbers of the images in a tensor."""
        total = min(TRAJECTORY_IMAGES, self.options.samples) if name == "trajectory" else self.options.samples
        return range(total) if self.part is None else slices.intersection(self.part, range(total))

    def file(self, name: str) -> Path:
        """Return the path of a tensor; its name has the last step or the scaling factor if the tensor depends on it."""
        return self._whole_file(name) if self.part is None else slices.slice_file(self._whole_file(name), self.part)

    def _whole_file(self, name: str) -> Path:
        suffix = ""
        if name == "last_latents" and self.last:
            suffix = f"-{step_name(self.last.setting.position)}"
        if name in DECODED and self.vae_scaling_factor is not None:
            suffix = f"-scale{self.vae_scaling_factor}"
        checkpoint, file_name = self.folder / step_name(self.setting.position), f"{name}{suffix}.safetensors"
        if name not in OF_INVERTER:
            return checkpoint / file_name
        before_inversions = checkpoint / file_name  # location in version 0.1
        if before_inversions.exists() and not self.setting.has_own_inverter:
            return before_inversions
        return checkpoint / "inversions" / self.setting.inverter.key / file_name

    @property
    def images(self) -> Images:
        """The samples as images [N, C, H, W]; codes are decoded, the first DECODED_IMAGES only."""
        return Images(self._cached("images") if self.are_codes else self["samples"])

    @property
    def interpolation_images(self) -> Images:
        """The self-interpolations as images [L, n, C, H, W]; codes are decoded."""
        return Images(self._cached("interpolation_images") if self.are_codes else self["self_interpolations"])

    @functools.cached_property
    def denoisers(self) -> list[Denoiser]:
        return [self.load_denoiser(device) for device in devices()]

    @functools.cached_property
    def float32_denoisers(self) -> list[Denoiser]:
        """The denoisers in float32 without compilation, for derivatives and small differences of ε."""
        return [self.load_denoiser(device, optimized=False) for device in devices()]

    @property
    def sampler(self) -> Solver:
        return self.setting.sampler.build(self.spacing, self.options.clip_denoised)

    @property
    def inverter(self) -> Solver:
        return self.setting.inverter.build(self.spacing, self.options.clip_denoised)

    def unclipped(self, samples: int) -> "Generations":
        """Return the first samples generated and inverted without clipping x_0, in the folder "unclipped"."""
        if self.options.clip_denoised is False:
            return self
        options = dataclasses.replace(self.options, clip_denoised=False, samples=min(samples, self.options.samples))
        return dataclasses.replace(self, folder=self.folder / "unclipped", options=options, last=None)

    def initial_noise(self, name: str = "samples") -> Tensor:
        """Return x_T [n, C, H, W] of a tensor's images for the model's shape; self["noise"] needs samples instead."""
        return self._noise(self.denoisers[0].shape, self.images_of(name))

    def _noise(self, shape: tuple[int, ...], images: range) -> Tensor:
        return fixed_noise(shape, len(images), self.options.noise_seed, images.start)

    @property
    def first(self) -> int:
        """The number of the first image."""
        return 0 if self.part is None else self.part.start


GENERATORS: dict[str, Callable[[Generations], Tensor]] = {
    "samples": lambda self: sample(self.denoisers, self.sampler, self.initial_noise(), self.options, self.first),
    "latents": lambda self: invert(self.denoisers, self.inverter, self["samples"], self.options, first=self.first),
    "last_latents": lambda self: invert(self.denoisers, self.inverter, self["last_samples"], self.options),
    "reconstructions": lambda self: sample(self.denoisers, self.sampler, self["latents"], self.options, self.first),
    "trajectory": lambda self: trajectory(
        self.denoisers, self.sampler, self.initial_noise("trajectory"), self.options, self.first
    ),
    "self_interpolations": lambda self: self_interpolations(
        self.denoisers,
        self.sampler,
        self["noise"][:SELF_INTERPOLATED_IMAGES],
        self["latents"][:SELF_INTERPOLATED_IMAGES],
        self.options,
    ),
    "images": lambda self: decode(self.denoisers, self["samples"][:DECODED_IMAGES], self.options),
    "interpolation_images": lambda self: torch.stack(
        [decode(self.denoisers, codes, self.options) for codes in self["self_interpolations"]]
    ),
}


def read_tensor(file: Path, name: str) -> Tensor | None:
    """Return a stored tensor, or None if it was deleted or is damaged."""
    try:
        return load_file(file)[name]
    except (OSError, SafetensorError, KeyError):
        return None


def training_images(folder: Path) -> Tensor:
    """Return at most MAX_TRAINING_IMAGES evenly spaced images of a prepared data set, uint8 [M, C, H, W]."""
    file = folder / "images.npy"
    return _evenly_spaced(file) if file.exists() else NO_IMAGES  # not cached: it may be prepared later


@functools.lru_cache(maxsize=1)
def _evenly_spaced(file: Path) -> Tensor:
    images = np.load(file, mmap_mode="r")
    indices = np.linspace(0, len(images) - 1, min(MAX_TRAINING_IMAGES, len(images))).round().astype(int)
    return torch.from_numpy(images[indices])


def training_images_requirement(options: Measures, training: Path | None) -> dict[str, bool]:
    """Return whether the training images are prepared on this machine, as a requirement of measures."""
    return {"training images": training is not None and (training / "images.npy").exists()}


def devices() -> list[torch.device]:
    """Return all visible GPUs, or the CPU if there is none."""
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())] or [torch.device("cpu")]
