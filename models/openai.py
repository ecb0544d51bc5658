"""A state dict of improved-diffusion or guided-diffusion → the network and the diffusion it was trained under.

The tensors tell the architecture. What they do not tell (`configs.schema.OpenAI`) is given, or known of a published
file, or assumed as both projects' scripts do where they are not told; whoever opens a file is told which.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.checks import impossible_model
from configs.errors import UserError
from configs.schema import Diffusion, Model, OpenAI
from diffusion.denoiser import Denoiser
from models.open import open_weights
from models.openai_presets import CHANNEL_MULT, PRESETS, Preset, filled
from models.state_dict import check_fit, read_state_dict
from models.unet import UNet

# Defaults of improved-diffusion's scripts. The image size is the one that they derive these channel_mult from.
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


@dataclass(frozen=True)
class Described:
    """What is in a file, and where each of its options is known from: by source, the options and their values."""

    model: Model
    diffusion: Diffusion
    known_from: dict[str, dict[str, Any]]

    @property
    def lines(self) -> list[str]:
        """The same for people, e.g. "assumed: schedule=linear, steps=1000"."""
        return [
            f"{source}: {', '.join(f'{name}={value}' for name, value in options.items() if value is not None)}"
            for source, options in self.known_from.items()
            if options
        ]


def open_openai(path: Path, given: OpenAI, device: torch.device) -> tuple[Denoiser, Described]:
    """The denoiser in a file, ready on a device, and how it is known. Raises UserError where there is none in it."""
    weights = read_state_dict(path)
    described = describe(weights, path, given)
    return open_weights(weights, path, described.model, described.diffusion, device), described


def describe(weights: dict[str, Tensor], path: Path, given: OpenAI) -> Described:
    """The network and diffusion of the weights in a file, by their names and shapes, the file's name and what is given.

    Raises UserError where they are not such a U-Net's, do not fit the preset, contradict what is given, or leave the
    size of the images open.
    """
    name, preset = _preset(path, given)
    if preset:
        _check_preset(name, preset, weights, path)
    told = _told(weights, path)
    known_from = _first_known(
        {
            "from the tensors": told,
            "given": _given(given, told, path),
            f"from the preset {name}": _known_of(preset) if preset else {},
            "assumed": DEFAULTS | _guessed_side(told["channel_mult"]),
        }
    )
    known = {option: value for options in known_from.values() for option, value in options.items()}
    if "image_size" not in known:
        raise UserError(f"{path} does not tell the side of its images; set openai.image_size=")
    sides = [known["image_size"] >> level for level in known_from["from the tensors"].pop("attention_levels")]
    known_from["from the tensors"]["attention_resolutions"] = sides
    model, diffusion = filled(Model, known | {"attention_resolutions": sides}), filled(Diffusion, known)
    for problem in impossible_model(model):
        raise UserError(f"{path}: {problem}")
    _check_fit(model, diffusion, weights, path)
    return Described(model, diffusion, known_from)


def _preset(path: Path, given: OpenAI) -> tuple[str, Preset | None]:
    name = given.preset or path.stem
    if given.preset not in (None, "none", *PRESETS):
        raise UserError(f"openai.preset={given.preset} is not known; there are none, {', '.join(PRESETS)}")
    return name, PRESETS.get(name)


def _check_preset(name: str, preset: Preset, weights: dict[str, Tensor], path: Path) -> None:
    try:
        _check_fit(preset.model, preset.diffusion, weights, path)
    except UserError as error:
        raise UserError(f"{error}; it is that of openai.preset={name}, and openai.preset=none infers it") from None


def _first_known(sources: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The options of each source that no source before it has."""
    seen: set[str] = set()
    first = {}
    for source, options in sources.items():
        first[source] = {option: value for option, value in options.items() if option not in seen}
        seen |= options.keys()
    return first


def _given(given: OpenAI, told: dict[str, Any], path: Path) -> dict[str, Any]:
    options = {
        name: value for name, value in dataclasses.asdict(given).items() if name != "preset" and value is not None
    }
    if "num_heads" in options:
        options.setdefault("num_head_channels", None)  # which a preset may have, and which would count
    learned = told.get("variance") == "learned_range"
    if "variance" in options and (options["variance"] == "learned_range") != learned:
        what = "a learned" if learned else "no learned"
        raise UserError(f"openai.variance={options['variance']} contradicts {path}, whose network has {what} variance")
    return options


def _known_of(preset: Preset) -> dict[str, Any]:
    """The options of `OpenAI` as a preset has them."""
    known = dataclasses.asdict(preset.model) | dataclasses.asdict(preset.diffusion)
    return {field.name: known[field.name] for field in dataclasses.fields(OpenAI) if field.name in known}


def _guessed_side(channel_mult: list[int | float]) -> dict[str, int]:
    sides = [side for side, usual in CHANNEL_MULT.items() if usual == channel_mult]
    return {"image_size": sides[0]} if sides else {}


def _check_fit(model: Model, diffusion: Diffusion, weights: dict[str, Tensor], path: Path) -> None:
    with torch.device("meta"):
        check_fit(UNet.from_config(model, diffusion), weights, path)


def _told(weights: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """What the names and shapes of the tensors tell; levels with attention in place of their sides in pixels."""
    try:
        told, out_channels = _architecture({name: list(tensor.shape) for name, tensor in weights.items()})
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise UserError(f"{path} is no state dict of improved-diffusion's or guided-diffusion's U-Net") from None
    in_channels = told["in_channels"]
    if in_channels == 6:
        raise UserError(f"{path} is an upsampler, which sees a smaller image beside x_t; those are not supported")
    if out_channels not in (in_channels, 2 * in_channels):
        raise UserError(f"{path} makes {out_channels} channels of {in_channels}: it is no denoiser")
    return told | ({"variance": "learned_range"} if out_channels == 2 * in_channels else {})


def _architecture(shapes: dict[str, list[int]]) -> tuple[dict[str, Any], int]:
    """The options of Model that shapes tell, and the channels of the output."""
    blocks = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("output_blocks."))
    first_channels, in_channels, *_ = shapes["input_blocks.0.0.weight"]
    model_channels = shapes["time_embed.0.weight"][1]
    blocks_a_level, resampling = _levels(shapes, blocks)
    first_of_level = [f"input_blocks.{first}" for first in range(1, blocks, blocks_a_level)]
    width = {block: shapes[f"{block}.0.out_layers.3.weight"][0] for block in first_of_level}
    classes = shapes.get("label_emb.weight")
    told = {
        "in_channels": in_channels,
        "model_channels": model_channels,
        "channel_mult": [_multiple(channels, model_channels) for channels in width.values()],
        "num_res_blocks": blocks_a_level - 1,
        "attention_levels": [i for i, block in enumerate(first_of_level) if f"{block}.1.qkv.weight" in shapes],
        "use_scale_shift_norm": shapes["input_blocks.1.0.emb_layers.1.weight"][0] == 2 * first_channels,
        **resampling,
        "num_classes": classes[0] if classes else None,
    }
    return told, shapes["out.2.weight"][0]


def _levels(shapes: dict[str, list[int]], blocks: int) -> tuple[int, dict[str, bool]]:
    """How many input blocks there are a level, that which changes the side included, and what changes it."""

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
