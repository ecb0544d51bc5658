"""The U-Net as a UNet2DModel of diffusers, with the same output."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from configs.errors import UserError
from models.components import import_diffusers
from models.unet import AttentionBlock, Downsample, ResBlock, UNet, Upsample

PLAIN_BLOCKS = ("DownBlock2D", "UpBlock2D")
RESAMPLING_BLOCKS = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
ATTENTION_BLOCKS = ("AttnDownBlock2D", "AttnUpBlock2D")


def to_unet2d(network: UNet, channels: int) -> Any:
    """Return a UNet2DModel with the weights of the network and its first `channels` outputs.

    Raises UserError if UNet2DModel cannot represent the network.
    """
    if reason := _unsupported(network):
        raise UserError(f"diffusers' UNet2DModel cannot represent this network: {reason}")
    unet = import_diffusers().UNet2DModel(**_config(network, channels)).eval().requires_grad_(False)
    _copy(network.time_embed[0], unet.time_embedding.linear_1)
    _copy(network.time_embed[2], unet.time_embedding.linear_2)
    if network.config.num_classes is not None:
        _copy(network.label_emb, unet.class_embedding)
    _copy_blocks(network, unet)
    norm, _, convolution = network.out
    _copy(norm, unet.conv_norm_out)
    unet.conv_out.load_state_dict({name: value[:channels] for name, value in convolution.state_dict().items()})
    return unet


def _config(network: UNet, channels: int) -> dict[str, Any]:
    """Return the configuration of the UNet2DModel with `channels` outputs."""
    config = network.config
    resample = "resnet" if config.resblock_updown else "conv"
    plain = RESAMPLING_BLOCKS if config.resblock_updown else PLAIN_BLOCKS
    sides = [config.image_size >> level for level in range(len(config.channel_mult))]
    blocks = [ATTENTION_BLOCKS if side in config.attention_resolutions else plain for side in sides]
    return {
        "sample_size": config.image_size,
        "in_channels": config.in_channels,
        "out_channels": channels,
        "block_out_channels": config.level_channels,
        "down_block_types": [down for down, _ in blocks],
        "up_block_types": [up for _, up in reversed(blocks)],
        "layers_per_block": config.num_res_blocks,
        "downsample_type": resample,
        "upsample_type": resample,
        "dropout": config.dropout,
        "attention_head_dim": _head_channels(network),
        "norm_num_groups": config.norm_groups,
        "attn_norm_num_groups": config.norm_groups,
        "resnet_time_scale_shift": "scale_shift" if config.use_scale_shift_norm else "default",
        "num_class_embeds": config.num_classes,
    }


def _head_channels(network: UNet) -> int | None:
    """Return the channels of every attention head; None if every layer has a single head."""
    blocks = _attention_blocks(network)
    return None if all(block.num_heads == 1 for block in blocks) else _head_widths(blocks)[0]


def _attention_blocks(network: UNet) -> list[AttentionBlock]:
    return [layer for layer in network.modules() if isinstance(layer, AttentionBlock)]


def _head_widths(blocks: list[AttentionBlock]) -> list[int]:
    return sorted({block.qkv.in_channels // block.num_heads for block in blocks})


def _unsupported(network: UNet) -> str:
    """Return the reason why UNet2DModel cannot represent the network, or ""."""
    config, blocks = network.config, _attention_blocks(network)
    widths = _head_widths(blocks)
    if len(widths) > 1 and any(block.num_heads > 1 for block in blocks):
        listed = " and ".join(map(str, widths))
        return f"its attention heads have {listed} channels, not one number; train with model.num_head_channels"
    if config.level_channels[0] != config.model_channels:
        return f"model.channel_mult starts with {config.channel_mult[0]:g} instead of 1"
    if not config.conv_resample and not config.resblock_updown and len(config.channel_mult) > 1:
        return "it resamples without weights (model.conv_resample=false)"
    return "it computes in half precision (model.use_fp16=true)" if config.use_fp16 else ""


def _copy_blocks(network: UNet, unet: Any) -> None:
    """Copy the layers of each kind in the order of their evaluation, which is the same in both networks."""
    _copy(next(network.input_blocks[0].children()), unet.conv_in)
    ours = [*network.input_blocks, network.middle_block, *network.output_blocks]
    theirs = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    for kind, (name, copy) in COPIES.items():
        targets = (layer for layer in _layers(theirs) if type(layer).__name__ == name)
        for source, target in zip((layer for layer in _layers(ours) if type(layer) is kind), targets, strict=True):
            copy(source, target)


def _layers(blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield all modules with weights."""
    return (layer for block in blocks for layer in block.modules() if any(True for _ in layer.parameters()))


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def _copy_residual_block(source: Any, target: Any) -> None:
    _copy(source.in_layers[0], target.norm1)
    _copy(source.in_layers[2], target.conv1)
    _copy(source.emb_layers[1], target.time_emb_proj)
    _copy(source.out_layers[0], target.norm2)
    _copy(source.out_layers[3], target.conv2)
    if target.conv_shortcut is not None:
        _copy(source.skip_connection, target.conv_shortcut)


def _copy_attention(source: AttentionBlock, target: Any) -> None:
    _copy(source.norm, target.group_norm)
    rows = {name: _split(source, parameter) for name, parameter in source.qkv.named_parameters()}
    for i, layer in enumerate((target.to_q, target.to_k, target.to_v)):
        layer.load_state_dict({"weight": rows["weight"][i][:, :, 0], "bias": rows["bias"][i]})
    weight, bias = source.proj_out.weight, source.proj_out.bias
    target.to_out[0].load_state_dict({"weight": weight[:, :, 0], "bias": bias})


def _split(block: AttentionBlock, rows: Tensor) -> Sequence[Tensor]:
    """Return the rows [C, …] of q, k and v, ordered by head, of a parameter [3·C, …] of the qkv convolution."""
    if block.use_new_attention_order:
        return rows.chunk(3)
    by_head = rows.unflatten(0, (block.num_heads, 3, -1))  # [heads, (q k v), channels per head, …]
    return [part.flatten(0, 1) for part in by_head.unbind(dim=1)]


def _copy_downsample(source: Any, target: Any) -> None:
    _copy(source.op, target.conv)


def _copy_upsample(source: Any, target: Any) -> None:
    _copy(source.conv, target.conv)


COPIES: dict[type[nn.Module], tuple[str, Callable[[Any, Any], None]]] = {
    ResBlock: ("ResnetBlock2D", _copy_residual_block),
    AttentionBlock: ("Attention", _copy_attention),
    Downsample: ("Downsample2D", _copy_downsample),
    Upsample: ("Upsample2D", _copy_upsample),
}
