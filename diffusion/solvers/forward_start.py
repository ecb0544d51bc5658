"""Forward start: naive inversion whose first steps are replaced by forward noise.

Source: the later versions of Staniszewski, Kuciński & Deja, "There and Back Again". The inversion starts from
x = α·x_0 + σ·ξ at the k-th timestep, with ξ ~ N(0, I), and continues as improved-diffusion's naive inversion.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.randomness import normal
from diffusion.solvers.ddim import DdimSampler


def noise_of_images(images: Tensor, seed: int) -> Tensor:
    """Return standard normal noise [N, C, H, W] addressed by (seed, content of each image).

    The noise of an image does not depend on the batch that it is in.
    """

    def address(image: Tensor) -> tuple[int, ...]:
        digest = hashlib.blake2b(image.float().cpu().numpy().tobytes(), digest_size=7).digest()
        return (int.from_bytes(digest, "little"),)

    noise = normal(tuple(images.shape[1:]), seed, "forward start", map(address, images))
    return noise.to(images.device, images.dtype)


@dataclass(frozen=True)
class ForwardStart(DdimSampler):
    """Naive inversion with the first `replaced` steps replaced by noise; `draw_noise` maps images to ξ."""

    replaced: int = 1
    draw_noise: Callable[[Tensor], Tensor] = functools.partial(noise_of_images, seed=0)

    @property
    def inversion_evaluations(self) -> int:
        return self.steps - self.replaced

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        steps = self.spacing.inversion(denoiser.levels, self.steps)[self.replaced :]
        start = steps[0].start
        x = start.alpha * x_0 + start.sigma * self.draw_noise(x_0)
        yield x
        yield from self._follow(denoiser, x, steps, y)
