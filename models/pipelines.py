"""Pipelines of diffusers: pixel DDPMs and latent-diffusion models, from a folder or from the Hugging Face hub.

Networks and schedulers are diffusers' own; the steps of DDIM are those of its DDIMScheduler and DDIMInverseScheduler.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import UserError, first_line
from diffusion.denoiser import Denoiser, PredictionType
from diffusion.levels import Level, NoiseLevels
from diffusion.solvers.solver import Step
from diffusion.solvers.spacing import TimestepSpacing
from models.state_dict import misfits

PREDICTION_TYPES: dict[str, PredictionType] = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
AUTOENCODERS = {"VQModel": "vqvae", "AutoencoderKL": "vae"}
INDEX = "model_index.json"


def is_pipeline(folder: Path) -> bool:
    return (folder / INDEX).is_file()


def downloaded(name: str) -> Path:
    """The folder of a pipeline on the Hugging Face hub, e.g. "google/ddpm-cifar10-32", fetched if need be.

    Raises UserError where it cannot be had.
    """
    diffusers = _diffusers()
    try:
        return Path(diffusers.DiffusionPipeline.download(name))
    except Exception as error:  # the hub's client has many, for no network, no such name and no permission
        raise UserError(
            f"{name} is no file or folder here, and cannot be had from the Hugging Face hub ({type(error).__name__}: "
            "no network, or no such model); give a folder that save_pretrained wrote as source="
        ) from None


def open_pipeline(folder: Path, vae_scaling_factor: float | None, device: torch.device) -> Denoiser:
    """The denoiser of a pipeline's folder, with an autoencoder that decodes what it makes where there is one.

    Codes are divided by `vae_scaling_factor` before; None: by the factor of training. Raises UserError if a part
    is missing, damaged or of a kind that has no ε to predict.
    """
    parts = _parts(folder)
    network, scheduler = _model(folder, "unet", parts, ("UNet2DModel",)), _scheduler(folder, parts)
    config = network.config
    if config.in_channels != config.out_channels and 2 * config.in_channels != config.out_channels:
        raise UserError(f"{folder}: its network takes more than x_t (another image, say), which is not supported")
    if not isinstance(config.sample_size, int):
        raise UserError(f"{folder}: its network does not say the side of its square images (sample_size)")
    return Denoiser(
        network=Called(network.to(device)),
        levels=NoiseLevels.from_alphas_cumprod(scheduler.alphas_cumprod.double()),
        shape=(config.in_channels, config.sample_size, config.sample_size),
        timestep_scale=1.0,
        num_classes=config.num_class_embeds,
        device=device,
        prediction_type=PREDICTION_TYPES[scheduler.config.prediction_type],
        clip=scheduler.config.clip_sample,
        decode=_decoder(folder, parts, vae_scaling_factor, device),
    )


@dataclass(frozen=True)
class SchedulerSpacing(TimestepSpacing):
    """The timesteps of DDIMScheduler and DDIMInverseScheduler under a pipeline's scheduler configuration.

    The configuration sets the spacing, the offset and the level at the clean end. When inverting, the network is
    evaluated at the end of each step, not at its start.
    """

    config: Any

    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        scheduler = _diffusers().DDIMScheduler.from_config(self.config)
        scheduler.set_timesteps(steps)
        stride, clean = len(levels) // steps, Level.from_alpha_bar(scheduler.final_alpha_cumprod.item())
        timesteps = scheduler.timesteps.tolist()
        return [Step(t, levels[t], levels[t - stride] if t >= stride else clean) for t in timesteps]

    def inversion(self, levels: NoiseLevels, steps: int) -> list[Step]:
        spacing = {"linspace": "leading"}.get(self.config.timestep_spacing, self.config.timestep_spacing)
        # DDIMInverseScheduler has no "linspace".
        scheduler = _diffusers().DDIMInverseScheduler.from_config(self.config, timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        stride, clean = len(levels) // steps, Level.from_alpha_bar(scheduler.initial_alpha_cumprod.item())
        timesteps = scheduler.timesteps.tolist()
        return [Step(t, levels[t - stride] if t >= stride else clean, levels[t]) for t in timesteps]


def timestep_spacing(folder: Path) -> SchedulerSpacing:
    """Return the timestep spacing of the pipeline in a folder. Raises UserError if its scheduler cannot be opened."""
    return SchedulerSpacing(_scheduler(folder, _parts(folder)).config)


class Called(nn.Module):
    """diffusers' network, called as a denoiser calls it."""

    def __init__(self, network: Any):
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return self.network(x_t, t, class_labels=y, return_dict=False)[0]


def _parts(folder: Path) -> dict[str, str]:
    """The classes of a pipeline's parts by name, as its index says."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return {name: entry[1] for name, entry in index.items() if isinstance(entry, list) and entry[1]}
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{folder / INDEX} cannot be read: {first_line(error)}") from None


def _part_folder(folder: Path, name: str) -> Path:
    """Where a part is: in a folder of its name, or, as in the oldest pipelines, beside the index."""
    return folder / name if (folder / name).is_dir() else folder


def _model(folder: Path, name: str, parts: dict[str, str], supported: tuple[str, ...]) -> Any:
    kind, path = parts.get(name), _part_folder(folder, name)
    if kind not in supported:
        raise UserError(f"{folder}: its {name} is {kind or 'missing'}; only {', '.join(supported)} is supported")
    try:
        loader = getattr(_diffusers(), kind)
        model, found = loader.from_pretrained(path, output_loading_info=True, local_files_only=True)
    except Exception as error:  # of safetensors, of pickle, of diffusers, of PyTorch
        raise UserError(f"{path} cannot be opened as {kind}: {first_line(error)}") from None
    told = misfits(found["missing_keys"], found["unexpected_keys"], map(str, found["mismatched_keys"]))
    if told:
        raise UserError(f"{path} does not fit {kind}: {told}")
    return model.requires_grad_(False).eval().float()


def _scheduler(folder: Path, parts: dict[str, str]) -> Any:
    """A DDIMScheduler with the betas, the prediction and the clipping of the pipeline's own scheduler."""
    diffusers, path = _diffusers(), _part_folder(folder, "scheduler")
    kind = getattr(diffusers, parts.get("scheduler", ""), None)
    if kind is None:
        raise UserError(f'{folder}: its scheduler "{parts.get("scheduler")}" is none that diffusers has')
    try:
        own = kind.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be opened as {parts['scheduler']}: {first_line(error)}") from None
    if not hasattr(own, "alphas_cumprod"):
        raise UserError(f"{folder}: its scheduler {kind.__name__} has no ᾱ (flow matching, say) and is not supported")
    if own.config.get("thresholding") or (own.config.get("clip_sample") and own.config.clip_sample_range != 1):
        raise UserError(f"{folder}: its scheduler limits x_0 otherwise than by clipping to [−1, 1]; not supported")
    return diffusers.DDIMScheduler.from_config(own.config)


def _decoder(folder: Path, parts: dict[str, str], vae_scaling_factor: float | None, device: torch.device):
    """What makes images of codes; None for a pixel model.

    CompVis trained its models on a VQModel's codes as they are. diffusers' LDMPipeline divides them by a factor that
    only its VQModel knows, which spoils the images of CompVis/ldm-celebahq-256 (diffusers, issue 6725).
    """
    kind = next((kind for kind in AUTOENCODERS if parts.get(AUTOENCODERS[kind]) == kind), None)
    if kind is None:
        if unknown := parts.keys() & set(AUTOENCODERS.values()):
            raise UserError(f"{folder}: its autoencoder {parts[unknown.pop()]} is not supported")
        return None
    autoencoder = _model(folder, AUTOENCODERS[kind], parts, (kind,)).to(device)
    own_scale = 1.0 if kind == "VQModel" else autoencoder.config.scaling_factor
    scale, shift = vae_scaling_factor or own_scale, autoencoder.config.get("shift_factor") or 0.0

    @torch.no_grad()
    def decode(codes: Tensor) -> Tensor:
        return autoencoder.decode(codes / scale + shift, return_dict=False)[0]

    return decode


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError:
        raise UserError("a pipeline of diffusers needs the extra: pip install 'noisemap[diffusers]'") from None
    diffusers.utils.logging.set_verbosity_error()
    return diffusers
