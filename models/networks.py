"""Networks of diffusers with the call signature of a denoiser's network, and classifier-free guidance.

Guidance: Ho & Salimans (2022), "Classifier-Free Diffusion Guidance", in the form ε_u + g·(ε_c − ε_u).
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from models.text import Embeddings


class DiffusersNetwork(nn.Module):
    """A UNet2DModel, with class labels if it has classes."""

    def __init__(self, network: Any):
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return self.network(x_t, t, class_labels=y, return_dict=False)[0]


class ScoreNetwork(nn.Module):
    """A UNet2DModel of the score −ε/σ of x_0 + σ·ε, for pixels from 0 to 1, as a network of ε.

    Its x_t have the levels of `models.schedulers.variance_exploding`. Timestep i has σ = σ_min·(σ_max/σ_min)^(i/(N−1)).
    """

    def __init__(self, network: Any, sigma_min: float, sigma_max: float, steps: int):
        super().__init__()
        self.network, self.config = network, network.config
        self.sigma_min, self.ratio = sigma_min, (sigma_max / sigma_min) ** (1 / (steps - 1))

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        sigma = (self.sigma_min * self.ratio ** t.double()).to(x_t.dtype)
        x = (x_t * (1 + 4 * sigma**2).sqrt() + 1) / 2
        return -sigma * self.network(x, sigma, return_dict=False)[0]


class GuidedNetwork(nn.Module):
    """Base class of networks with a null condition, numbered `null`; `guidance` 1 does not evaluate it.

    The two branches are evaluated one after the other, so that guidance takes no more memory.
    """

    def __init__(self, network: Any, guidance: float, null: int):
        super().__init__()
        self.network, self.guidance, self.null = network, guidance, null

    @property
    def evaluations_per_call(self) -> int:
        return 1 if self.guidance == 1 else 2

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        t = t.expand(len(x_t))
        conditional = self.evaluate(x_t, t, y)
        if self.guidance == 1:
            return conditional
        assert y is not None, "guidance needs conditions"
        unconditional = self.evaluate(x_t, t, torch.full_like(y, self.null))
        return unconditional + self.guidance * (conditional - unconditional)

    @abstractmethod
    def evaluate(self, x_t: Tensor, t: Tensor, y: Any) -> Tensor:
        """Return the network's output for x_t [N, C, H, W], timesteps t [N] and conditions y [N], if there are any."""


class ClassTransformer(GuidedNetwork):
    """A DiTTransformer2DModel: classes, and a null class after the last."""

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.network(x_t, timestep=t, class_labels=y, return_dict=False)[0]


class TextNetwork(GuidedNetwork):
    """Base class of networks conditioned on prompts, whose embeddings are looked up by number."""

    tokens: Tensor
    pooled: Tensor

    def __init__(self, network: Any, guidance: float, embeddings: Embeddings):
        super().__init__(network, guidance, null=len(embeddings.tokens) - 1)
        self.register_buffer("tokens", embeddings.tokens, persistent=False)
        self.register_buffer("pooled", embeddings.pooled, persistent=False)


class TextUNet(TextNetwork):
    """The UNet2DConditionModel of Stable Diffusion 1.x and 2.x."""

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.network(x_t, t, encoder_hidden_states=self.tokens[y], return_dict=False)[0]


class SizedTextUNet(TextNetwork):
    """The UNet2DConditionModel of Stable Diffusion XL, which is also conditioned on the size of its images.

    Original and target size are those of the generated images, which are not cropped: the defaults of the pipeline.
    """

    time_ids: Tensor

    def __init__(self, network: Any, guidance: float, embeddings: Embeddings, image_size: int):
        super().__init__(network, guidance, embeddings)
        size = (image_size, image_size)
        self.register_buffer("time_ids", torch.tensor([*size, 0, 0, *size], dtype=torch.float32), persistent=False)

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        added = {"text_embeds": self.pooled[y], "time_ids": self.time_ids.expand(len(y), -1)}
        return self.network(x_t, t, encoder_hidden_states=self.tokens[y], added_cond_kwargs=added, return_dict=False)[0]


class MultimodalTransformer(TextNetwork):
    """The SD3Transformer2DModel of Stable Diffusion 3."""

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.network(
            x_t,
            timestep=t,
            encoder_hidden_states=self.tokens[y],
            pooled_projections=self.pooled[y],
            return_dict=False,
        )[0]


class FluxTransformer(TextNetwork):
    """The FluxTransformer2DModel of FLUX, whose tokens are 2 × 2 patches of the latent.

    A guidance-distilled model gets the guidance as an input (`distilled_guidance`) and is evaluated once.
    """

    def __init__(self, network: Any, guidance: float, embeddings: Embeddings):
        is_distilled = network.config.guidance_embeds
        super().__init__(network, 1.0 if is_distilled else guidance, embeddings)
        self.distilled_guidance = guidance if is_distilled else None

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        rows, columns = x_t.shape[2] // 2, x_t.shape[3] // 2
        guidance = None if self.distilled_guidance is None else torch.full_like(t, self.distilled_guidance)
        output = self.network(
            hidden_states=pack(x_t),
            timestep=t / 1000,
            guidance=guidance,
            encoder_hidden_states=self.tokens[y],
            pooled_projections=self.pooled[y],
            txt_ids=torch.zeros(self.tokens.shape[1], 3, device=x_t.device),
            img_ids=_positions(rows, columns, x_t.device),
            return_dict=False,
        )[0]
        return unpack(output, rows, columns)


def pack(x: Tensor) -> Tensor:
    """Return 2 × 2 patches of x [N, C, H, W] as tokens [N, H/2·W/2, 4·C]."""
    n, channels, height, width = x.shape
    patches = x.reshape(n, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(n, height // 2 * width // 2, 4 * channels)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Return tokens [N, rows·columns, 4·C] as x [N, C, 2·rows, 2·columns]; the inverse of `pack`."""
    n, _, channels = tokens.shape
    patches = tokens.reshape(n, rows, columns, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(n, channels // 4, 2 * rows, 2 * columns)


def _positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return the positions (0, row, column) of image tokens, [rows·columns, 3]."""
    ranges = (torch.arange(count, device=device) for count in (rows, columns))
    row, column = torch.meshgrid(*ranges, indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(-1, 3).float()
