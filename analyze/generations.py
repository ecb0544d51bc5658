"""What measures can ask for of a checkpoint, each made when it is first asked for and kept.

generations/000002500/  samples.safetensors  latents.safetensors  last_latents-000700000.safetensors  …
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor

from analyze.generate import decoded, invert, sample, trajectory
from configs.errors import UserError
from configs.schema import Analyze
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from records.atomic import atomic_file
from records.layout import step_name

TRAINING_IMAGES = 50_000  # that generated ones are compared with
TRAJECTORY_IMAGES = 256  # of which x_t is kept
PICTURED = 1_000  # codes that are decoded
NO_IMAGES = torch.empty(0, 1, 1, 1, dtype=torch.uint8)
NOT_MADE = ("noise", "training_images", "last_samples")  # of a single checkpoint
ONLY_LAST = frozenset({"reconstructions", "trajectory"})  # what is made of the last checkpoint alone


@dataclass(frozen=True)
class Tensors:
    """The tensors of one checkpoint by name, float32 on the CPU.

    noise x_T, samples x_0, latents x̂_T, last_samples (the last checkpoint's), last_latents (these, inverted by this
    checkpoint) and reconstructions (samples made of the latents) are [N, C, H, W]; trajectory is [K, n, C, H, W].
    training_images are uint8 [M, C, H, W], M = 0 where they are not prepared.
    """

    folder: Path
    step: int
    options: Analyze
    load_denoiser: Callable[[torch.device], Denoiser]
    training: Path | None = None  # the prepared data set, if there is one
    last: "Tensors | None" = None  # of the last checkpoint, where this is another one
    are_codes: bool = False  # samples are an autoencoder's codes, which it makes images of

    def __getitem__(self, name: str) -> Tensor:
        if name == "noise":
            shape = self["samples"].shape[1:]
            return fixed_noise(tuple(shape), self.options.samples, self.options.noise_seed)
        if name == "training_images":
            return training_images(self.training) if self.training else NO_IMAGES
        if name == "last_samples":
            return (self.last or self)["samples"]
        if name == "last_latents" and self.last is None:
            return self["latents"]
        if name not in GENERATORS:
            known = ", ".join(sorted({*GENERATORS, *NOT_MADE}))
            raise UserError(f"a measure asks for {name}, which no checkpoint has; there are {known}")
        return self._kept(name)

    def _kept(self, name: str) -> Tensor:
        file = self.file(name)
        try:
            return load_file(file)[name]
        except (OSError, SafetensorError):
            made = GENERATORS[name](self)
        with atomic_file(file) as aside:
            aside.write_bytes(serialised({name: made}))
        return made

    def file(self, name: str) -> Path:
        """Where a tensor is kept; one that depends on the last checkpoint says which that was."""
        which = f"-{step_name(self.last.step)}" if name == "last_latents" and self.last else ""
        return self.folder / step_name(self.step) / f"{name}{which}.safetensors"

    @property
    def images(self) -> Tensor:
        """What the samples look like, [N, C, H, W] in [−1, 1]; of codes the first PICTURED are decoded and kept."""
        return self._kept("images").float() / 127.5 - 1 if self.are_codes else self["samples"]

    @functools.cached_property
    def denoisers(self) -> list[Denoiser]:
        return [self.load_denoiser(device) for device in devices()]

    def new_noise(self) -> Tensor:
        return fixed_noise(self.denoisers[0].shape, self.options.samples, self.options.noise_seed)


GENERATORS: dict[str, Callable[[Tensors], Tensor]] = {
    "samples": lambda it: sample(it.denoisers, it.new_noise(), it.options),
    "latents": lambda it: invert(it.denoisers, it["samples"], it.options),
    "last_latents": lambda it: invert(it.denoisers, it["last_samples"], it.options),
    "reconstructions": lambda it: sample(it.denoisers, it["latents"], it.options),
    "trajectory": lambda it: trajectory(it.denoisers, it.new_noise()[:TRAJECTORY_IMAGES], it.options),
    "images": lambda it: decoded(it.denoisers, it["samples"][:PICTURED], it.options),
}


@functools.lru_cache(maxsize=1)
def training_images(folder: Path) -> Tensor:
    """At most TRAINING_IMAGES of a prepared data set, evenly spread, uint8 [M, C, H, W]."""
    if not (folder / "images.npy").exists():
        return NO_IMAGES
    images = np.load(folder / "images.npy", mmap_mode="r")
    chosen = np.linspace(0, len(images) - 1, min(TRAINING_IMAGES, len(images))).round().astype(int)
    return torch.from_numpy(images[chosen])


def devices() -> list[torch.device]:
    """All GPUs that this process may use, or else the CPU."""
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())] or [torch.device("cpu")]
