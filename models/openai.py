"""State dicts of improved-diffusion and guided-diffusion, opened with their architecture and diffusion.

The tensors determine the architecture. Options that they do not determine (`configs.schema.OpenAI`) come from the
user, from the preset of a published file, or from the defaults of both projects' scripts; the description of a file
lists the source of each option.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.checks import diffusion_problems, model_problems
from configs.errors import UserError
from configs.schema import Diffusion, Model, OpenAI
from diffusion.denoiser import Denoiser
from models.open import open_weights
from models.openai_presets import CHANNEL_MULT, PRESETS, Preset, build_config
from models.state_dict import check_fit, read_state_dict
from models.unet import UNet

# Defaults of improved-diffusion's scripts. The image size defaults to the one with the same channel_mult.
DEFAULTS: dict[str, Any] = {
    "num_heads": 4,
    "num_head_channels": None,
    "use_new_attention_order": False,
    "use_fp16": False,
    "schedule": "linear",
    "steps": 1000,
    "variance": "fixed_large",
    "rescale_timesteps": True,
}
TENSORS = "inferred from tensors"


@dataclass(frozen=True)
class Description:
    """Network and diffusion of a file, and the values of their options by source."""

    model: Model
    diffusion: Diffusion
    options: dict[str, dict[str, Any]]

    @property
    def lines(self) -> list[str]:
        """The options, one line per source, for example "defaults: schedule=linear, steps=1000"."""
        return [
            f"{source}: {', '.join(f'{name}={value}' for name, value in options.items() if value is not None)}"
            for source, options in self.options.items()
            if options
        ]


def open_openai(path: Path, options: OpenAI, device: torch.device) -> tuple[Denoiser, Description]:
    """Open a file as a denoiser on a device; also return its description. Raises UserError like `describe`."""
    return open_tensors(read_state_dict(path), path, options, device)


def open_tensors(
    weights: dict[str, Tensor], path: Path, options: OpenAI, device: torch.device
) -> tuple[Denoiser, Description]:
    """Open weights read from a file like `open_openai`."""
    description = describe(weights, path, options)
    return open_weights(weights, path, description.model, description.diffusion, device), description


def describe(weights: dict[str, Tensor], path: Path, options: OpenAI) -> Description:
    """Describe the weights of a file, from their names and shapes, the options and the preset of the file name.

    Raises UserError if the weights are not those of such a U-Net, do not fit the preset, contradict an option, or do
    not determine the image size.
    """
    name, preset = _preset(path, options)
    if preset:
        _check_preset(name, preset, weights, path)
    inferred = _infer(weights, path)
    attention_levels = inferred.pop("attention_levels")
    by_source = _by_precedence(
        {
            TENSORS: inferred,
            "options": _explicit_options(options, inferred, path),
            f"preset {name}": _preset_options(preset) if preset else {},
            "defaults": DEFAULTS | _default_image_size(inferred["channel_mult"]),
        }
    )
    values = {option: value for options in by_source.values() for option, value in options.items()}
    if "image_size" not in values:
        raise UserError(f"{path} does not determine the size of its images; set openai.image_size=")
    by_source[TENSORS]["attention_resolutions"] = [values["image_size"] >> level for level in attention_levels]
    values |= by_source[TENSORS]
    model, diffusion = build_config(Model, values), build_config(Diffusion, values)
    for problem in (*model_problems(model), *diffusion_problems(diffusion)):
        raise UserError(f"{path}: {problem.replace('diffusion.', 'openai.')}")
    _check_fit(model, diffusion, weights, path)
    return Description(model, diffusion, by_source)


def _preset(path: Path, options: OpenAI) -> tuple[str, Preset | None]:
    name = options.preset or path.stem
    if options.preset not in (None, "none", *PRESETS):
        raise UserError(f"openai.preset={options.preset} does not exist; choose none, {', '.join(PRESETS)}")
    return name, PRESETS.get(name)


def _check_preset(name: str, preset: Preset, weights: dict[str, Tensor], path: Path) -> None:
    try:
        _check_fit(preset.model, preset.diffusion, weights, path)
    except UserError as error:
        raise UserError(
            f"{error}; expected openai.preset={name}; set openai.preset=none to infer the network"
        ) from None


def _by_precedence(sources: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each source without the options that an earlier source defines."""
    defined: set[str] = set()
    remaining = {}
    for source, options in sources.items():
        remaining[source] = {option: value for option, value in options.items() if option not in defined}
        defined |= options.keys()
    return remaining


def _explicit_options(options: OpenAI, inferred: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the options that the user has set. Raises UserError if `variance` contradicts the tensors."""
    values = {
        name: value for name, value in dataclasses.asdict(options).items() if name != "preset" and value is not None
    }
    if "num_heads" in values:
        values.setdefault(
            "num_head_channels", None
        )  # a preset's num_head_channels would take precedence over num_heads
    is_learned = inferred.get("variance") == "learned_range"
    if "variance" in values and (values["variance"] == "learned_range") != is_learned:
        actual = "a learned" if is_learned else "no learned"
        raise UserError(f"openai.variance={values['variance']} contradicts {path}, whose network has {actual} variance")
    return values


def _preset_options(preset: Preset) -> dict[str, Any]:
    """Return a preset's values of the options of `OpenAI`."""
    values = dataclasses.asdict(preset.model) | dataclasses.asdict(preset.diffusion)
    return {field.name: values[field.name] for field in dataclasses.fields(OpenAI) if field.name in values}


def _default_image_size(channel_mult: list[int | float]) -> dict[str, int]:
    sizes = [size for size, default in CHANNEL_MULT.items() if default == channel_mult]
    return {"image_size": sizes[0]} if sizes else {}


def _check_fit(model: Model, diffusion: Diffusion, weights: dict[str, Tensor], path: Path) -> None:
    with torch.device("meta"):
        check_fit(UNet.from_config(model, diffusion), weights, path)


def _infer(weights: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Infer options from the names and shapes of tensors; `attention_levels` replaces `attention_resolutions`.

    Raises UserError if they are not those of a supported U-Net.
    """
    try:
        inferred, out_channels = _infer_architecture({name: list(tensor.shape) for name, tensor in weights.items()})
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError):
        raise UserError(f"{path} is not a state dict of improved-diffusion's or guided-diffusion's U-Net") from None
    in_channels = inferred["in_channels"]
    if in_channels == 6:
        raise UserError(f"{path} is an upsampler, conditioned on a smaller image; upsamplers are not supported")
    if out_channels not in (in_channels, 2 * in_channels):
        raise UserError(
            f"{path} is not a denoiser: it has {out_channels} output channels for {in_channels} input channels"
        )
    return inferred | ({"variance": "learned_range"} if out_channels == 2 * in_channels else {})


def _infer_architecture(shapes: dict[str, list[int]]) -> tuple[dict[str, Any], int]:
    """Return the options of `Model` that shapes determine, and the number of output channels."""
    blocks = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("output_blocks."))
    if blocks > len(shapes):
        raise ValueError(f"{blocks} blocks have only {len(shapes)} tensors")
    first_channels, in_channels, *_ = shapes["input_blocks.0.0.weight"]
    model_channels = shapes["time_embed.0.weight"][1]
    blocks_per_level, resampling = _infer_levels(shapes, blocks)
    first_of_level = [f"input_blocks.{first}" for first in range(1, blocks, blocks_per_level)]
    width = {block: shapes[f"{block}.0.out_layers.3.weight"][0] for block in first_of_level}
    classes = shapes.get("label_emb.weight")
    inferred = {
        "in_channels": in_channels,
        "model_channels": model_channels,
        "channel_mult": [_multiple(channels, model_channels) for channels in width.values()],
        "num_res_blocks": blocks_per_level - 1,
        "attention_levels": [i for i, block in enumerate(first_of_level) if f"{block}.1.qkv.weight" in shapes],
        "use_scale_shift_norm": shapes["input_blocks.1.0.emb_layers.1.weight"][0] == 2 * first_channels,
        **resampling,
        "num_classes": classes[0] if classes else None,
    }
    return inferred, shapes["out.2.weight"][0]


def _infer_levels(shapes: dict[str, list[int]], blocks: int) -> tuple[int, dict[str, bool]]:
    """Return the number of input blocks per level, including the downsampling block, and the kind of resampling."""

    def is_residual(block: str) -> bool:
        return f"{block}.in_layers.0.weight" in shapes

    for i in range(1, blocks):
        if not is_residual(f"input_blocks.{i}.0"):
            return i, {"conv_resample": f"input_blocks.{i}.0.op.weight" in shapes}
    for i in range(blocks):
        if is_residual(f"output_blocks.{i}.1") or is_residual(f"output_blocks.{i}.2"):
            return i + 1, {"resblock_updown": True}
    return blocks, {}


def _multiple(channels: int, model_channels: int) -> int | float:
    return channels // model_channels if channels % model_channels == 0 else channels / model_channels
