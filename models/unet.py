"""The U-Net of improved-diffusion and guided-diffusion, in plain PyTorch.

Outputs and state-dict keys equal those of both projects, so state dicts load strictly in either direction.
Architecture: Nichol & Dhariwal (2021), "Improved Denoising Diffusion Probabilistic Models", appendix A, and
Dhariwal & Nichol (2021), "Diffusion Models Beat GANs on Image Synthesis", section 3.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import Diffusion, Model

Layer = TypeVar("Layer", bound=nn.Module)


def timestep_embedding(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Return the sinusoidal embedding [N, channels] of t [N] at geometrically spaced frequencies.

    Source: Vaswani et al. (2017), section 3.5; cosines come first, as in DDPM.
    """
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t[:, None].float() * torch.exp(-math.log(max_period) * exponents)[None]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, channels % 2))


class GroupNorm(nn.GroupNorm):
    """Group normalization, computed in float32 for any input type."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def zero_module(layer: Layer) -> Layer:
    """Zero the parameters of a layer and return it, so that its residual branch has no effect at initialization."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Dropout(nn.Module):
    """Dropout whose mask depends only on the layer, the image's key and the position in the feature map.

    nn.Dropout draws the masks of a batch from one stream, so they would depend on the number of processes that share
    the batch. Here, the mask at a position is derived from a hash of the image's random 32-bit key and the position's
    index: the finalizer of MurmurHash3 (Appleby, 2011), in arithmetic modulo 2³² on signed integers.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.layer = 0

    def forward(self, x: Tensor, dropout_keys: Tensor | None) -> Tensor:
        """Zero a fraction `p` of x [N, C, H, W] and scale up the rest; dropout_keys int32 [N], one key per image."""
        if not self.training or self.p == 0:
            return x
        assert dropout_keys is not None, "training with dropout requires one key per image"
        # The exclusive or with 0 keeps the product out of the index arithmetic of compiled kernels, where its constants
        # are not reduced modulo 2³² and Triton rejects them.
        positions = torch.arange(x[0].numel(), dtype=torch.int32, device=x.device) ^ (dropout_keys[:1] & 0)
        mixed = dropout_keys[:, None] ^ (positions * 0x1E3779B1 + _signed(self.layer * 0x3C6EF372))
        mixed ^= (mixed >> 16).bitwise_and_(0xFFFF)
        mixed *= -2048144789  # 0x85EBCA6B
        mixed ^= (mixed >> 13).bitwise_and_(0x7FFFF)
        mixed *= -1028477387  # 0xC2B2AE35
        mixed ^= (mixed >> 16).bitwise_and_(0xFFFF)
        mask = (mixed >= int(self.p * 2**32) - 2**31).view(x.shape)
        return x * mask / (1 - self.p)


def _signed(number: int) -> int:
    """Return the signed 32-bit integer that equals a number modulo 2³²."""
    return (number + 2**31) % 2**32 - 2**31


class ResBlock(nn.Module):
    """Two convolutions with a residual connection, modulated by the time embedding.

    `resample` resizes the feature map in both branches: before the first convolution, and in the skip connection.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        config: Model,
        resample: nn.Module | None = None,
    ):
        super().__init__()
        self.use_scale_shift_norm = config.use_scale_shift_norm
        modulation_channels = out_channels * (2 if config.use_scale_shift_norm else 1)
        self.in_layers = nn.Sequential(
            GroupNorm(config.norm_groups, in_channels), nn.SiLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.resample = resample or nn.Identity()
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_channels, modulation_channels))
        self.out_layers = nn.Sequential(
            GroupNorm(config.norm_groups, out_channels),
            nn.SiLU(),
            Dropout(config.dropout),
            zero_module(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = in_channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor, dropout_keys: Tensor | None) -> Tensor:
        norm, activation, convolution = self.in_layers
        h = convolution(self.resample(activation(norm(x))))
        norm, activation, dropout, convolution = self.out_layers
        modulation = self.emb_layers(embedding).to(h.dtype)[:, :, None, None]
        if self.use_scale_shift_norm:
            scale, shift = modulation.chunk(2, dim=1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + modulation)
        return self.skip_connection(self.resample(x)) + convolution(dropout(activation(h), dropout_keys))


class AttentionBlock(nn.Module):
    """Self-attention over the positions of a feature map, with a residual connection."""

    def __init__(self, channels: int, num_heads: int, config: Model):
        super().__init__()
        self.num_heads = channels // config.num_head_channels if config.num_head_channels else num_heads
        self.use_new_attention_order = config.use_new_attention_order
        self.norm = GroupNorm(config.norm_groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_module(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, channels = x.shape[:2]
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [N, positions, C], no copy if channels are last
        qkv, head_channels = _pointwise_conv(self.qkv, tokens), channels // self.num_heads
        if self.use_new_attention_order:  # [(q k v), heads, channels per head]
            qkv = qkv.reshape(n, -1, 3, self.num_heads, head_channels).transpose(2, 3)
        else:  # q, k and v are interleaved within heads, as in most published weights: [heads, (q k v), channels]
            qkv = qkv.reshape(n, -1, self.num_heads, 3, head_channels)
        q, k, v = qkv.transpose(1, 2).unbind(dim=3)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(tokens.shape)
        return x + _pointwise_conv(self.proj_out, h).transpose(1, 2).reshape(x.shape)


def _pointwise_conv(layer: nn.Conv1d, tokens: Tensor) -> Tensor:
    """Apply a convolution with kernel size 1 to tokens [N, positions, C] as a matrix product."""
    return F.linear(tokens, layer.weight[:, :, 0], layer.bias)


class Downsample(nn.Module):
    """Downsampling by 2: a strided convolution if `learned`, otherwise 2 × 2 average pooling."""

    def __init__(self, channels: int, learned: bool):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if learned else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Upsampling by 2: nearest-neighbor interpolation, followed by a convolution if `learned`."""

    def __init__(self, channels: int, learned: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class TimestepEmbedSequential(nn.Sequential):
    """Sequence of layers that passes the time embedding and the dropout keys to its residual blocks."""

    def forward(self, x: Tensor, embedding: Tensor, dropout_keys: Tensor | None) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, embedding, dropout_keys) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """U-Net that predicts the noise in x_t and, with a learned variance, the interpolation weights of the variance.

    Inputs: x_t [N, in_channels, S, S]; t [N], or [1] if all are equal, in 0…1000 if rescaled; labels y [N] of a
    class-conditional model; random dropout_keys int32 [N] in training with dropout. Output: [N, out_channels, S, S].
    """

    def __init__(self, config: Model, out_channels: int):
        super().__init__()
        self.config = config
        embedding_channels = 4 * config.model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.model_channels, embedding_channels),
            nn.SiLU(),
            nn.Linear(embedding_channels, embedding_channels),
        )
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, embedding_channels)

        skip_channels: list[int] = []
        self.input_blocks = nn.ModuleList(self._input_blocks(embedding_channels, skip_channels))
        channels = skip_channels[-1]
        self.middle_block = TimestepEmbedSequential(
            ResBlock(channels, channels, embedding_channels, config),
            AttentionBlock(channels, config.num_heads, config),
            ResBlock(channels, channels, embedding_channels, config),
        )
        self.output_blocks = nn.ModuleList(self._output_blocks(embedding_channels, skip_channels))
        channels = skip_channels[0]
        self.out = nn.Sequential(
            GroupNorm(config.norm_groups, channels),
            nn.SiLU(),
            zero_module(nn.Conv2d(channels, out_channels, 3, padding=1)),
        )

        for layer, dropout in enumerate(module for module in self.modules() if isinstance(module, Dropout)):
            dropout.layer = layer
        self.block_dtype = torch.float32
        self.autocasts_ends = True  # whether autocast also applies to the time embedding and the output convolution
        if config.use_fp16:
            self.convert_to_half(torch.float16)

    @classmethod
    def from_config(cls, model: Model, diffusion: Diffusion) -> "UNet":
        """Return the network of an experiment; a learned variance doubles the output channels."""
        return cls(model, model.in_channels * (2 if diffusion.variance == "learned_range" else 1))

    def _input_blocks(self, embedding_channels: int, skip_channels: list[int]) -> Iterator[TimestepEmbedSequential]:
        config, side = self.config, self.config.image_size
        channels = config.level_channels[0]
        yield TimestepEmbedSequential(nn.Conv2d(config.in_channels, channels, 3, padding=1))
        skip_channels.append(channels)
        for level, width in enumerate(config.level_channels):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [ResBlock(channels, width, embedding_channels, config)]
                channels = width
                if side in config.attention_resolutions:
                    layers.append(AttentionBlock(channels, config.num_heads, config))
                yield TimestepEmbedSequential(*layers)
                skip_channels.append(channels)
            if level < len(config.channel_mult) - 1:
                yield TimestepEmbedSequential(self._resample(Downsample, channels, embedding_channels))
                skip_channels.append(channels)
                side //= 2

    def _output_blocks(self, embedding_channels: int, skip_channels: list[int]) -> Iterator[TimestepEmbedSequential]:
        config, channels = self.config, skip_channels[-1]
        side = config.image_size >> (len(config.channel_mult) - 1)
        skips = skip_channels.copy()
        for level, width in reversed(list(enumerate(config.level_channels))):
            for i in range(config.num_res_blocks + 1):
                layers: list[nn.Module] = [ResBlock(channels + skips.pop(), width, embedding_channels, config)]
                channels = width
                if side in config.attention_resolutions:
                    layers.append(AttentionBlock(channels, config.num_heads_upsample or config.num_heads, config))
                if level > 0 and i == config.num_res_blocks:
                    layers.append(self._resample(Upsample, channels, embedding_channels))
                    side *= 2
                yield TimestepEmbedSequential(*layers)

    def _resample(self, kind: type[Downsample] | type[Upsample], channels: int, embedding_channels: int) -> nn.Module:
        if self.config.resblock_updown:
            return ResBlock(channels, channels, embedding_channels, self.config, kind(channels, learned=False))
        return kind(channels, learned=self.config.conv_resample)

    def convert_to_half(self, block_dtype: torch.dtype) -> None:
        """Convert the blocks' convolutions like guided-diffusion; embeddings, norms and output stay in float32."""
        self.block_dtype = block_dtype
        for blocks in (self.input_blocks, self.middle_block, self.output_blocks):
            for layer in blocks.modules():
                if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
                    layer.to(block_dtype)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, dropout_keys: Tensor | None = None) -> Tensor:
        with self._precision_of_ends(x_t):
            embedding = self.time_embed(timestep_embedding(t, self.config.model_channels))
        if self.config.num_classes is not None:
            embedding = embedding + self.label_emb(y)
        half = self.block_dtype != torch.float32
        h, skips = x_t.to(self.block_dtype) if half else x_t, []
        for block in self.input_blocks:
            h = block(h, embedding, dropout_keys)
            skips.append(h)
        h = self.middle_block(h, embedding, dropout_keys)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding, dropout_keys)
        with self._precision_of_ends(x_t):
            return self.out(h.float() if half or not self.autocasts_ends else h)

    def _precision_of_ends(self, x_t: Tensor) -> AbstractContextManager:
        return nullcontext() if self.autocasts_ends else torch.autocast(x_t.device.type, enabled=False)
