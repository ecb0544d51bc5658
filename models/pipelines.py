"""Pipelines of diffusers: pixel DDPMs and latent-diffusion models, from a folder or from the Hugging Face Hub.

Networks and schedulers are those of diffusers; DDIM uses the steps of its DDIMScheduler and DDIMInverseScheduler.
"""

import json
from collections.abc import Callable
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
from models.state_dict import mismatch_message

PREDICTION_TYPES: dict[str, PredictionType] = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
AUTOENCODERS = {"VQModel": "vqvae", "AutoencoderKL": "vae"}
INDEX = "model_index.json"


def is_pipeline(folder: Path) -> bool:
    """Return whether a folder contains a pipeline of diffusers."""
    return (folder / INDEX).is_file()


def download_pipeline(name: str) -> Path:
    """Return the folder of a pipeline on the Hugging Face Hub, such as "google/ddpm-cifar10-32", downloaded if needed.

    Raises UserError if the download fails.
    """
    diffusers = _diffusers()
    try:
        return Path(diffusers.DiffusionPipeline.download(name))
    except Exception as error:  # the client raises many types: no network, unknown name, no permission
        raise UserError(
            f"{name} is not a local file or folder and could not be downloaded from the Hugging Face Hub "
            f"({type(error).__name__}: no network, or no such model); set source= to a folder of save_pretrained"
        ) from None


def open_pipeline(folder: Path, vae_scaling_factor: float | None, device: torch.device) -> Denoiser:
    """Open the pipeline in a folder as a denoiser, with a decoder if it has an autoencoder.

    Codes are divided by `vae_scaling_factor` before decoding; None uses the factor of training. Raises UserError if a
    component is missing, damaged or not supported.
    """
    components = _components(folder)
    network, scheduler = _model(folder, "unet", components, ("UNet2DModel",)), _scheduler(folder, components)
    config = network.config
    if config.in_channels != config.out_channels and 2 * config.in_channels != config.out_channels:
        raise UserError(f"{folder}: the network has inputs other than x_t (another image, for example); not supported")
    if not isinstance(config.sample_size, int):
        raise UserError(f"{folder}: sample_size of the network is not a number; only square images are supported")
    return Denoiser(
        network=DiffusersNetwork(network.to(device)),
        levels=NoiseLevels.from_alphas_cumprod(scheduler.alphas_cumprod.double()),
        shape=(config.in_channels, config.sample_size, config.sample_size),
        timestep_scale=1.0,
        num_classes=config.num_class_embeds,
        device=device,
        prediction_type=PREDICTION_TYPES[scheduler.config.prediction_type],
        clip=scheduler.config.clip_sample,
        decode=_decoder(folder, components, vae_scaling_factor, device),
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
    return SchedulerSpacing(_scheduler(folder, _components(folder)).config)


class DiffusersNetwork(nn.Module):
    """A network of diffusers with the call signature of a denoiser's network."""

    def __init__(self, network: Any):
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return self.network(x_t, t, class_labels=y, return_dict=False)[0]


def _components(folder: Path) -> dict[str, str]:
    """Return the class names of a pipeline's components by name, as listed in its index."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return {name: entry[1] for name, entry in index.items() if isinstance(entry, list) and entry[1]}
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{folder / INDEX} cannot be read: {first_line(error)}") from None


def _component_folder(folder: Path, name: str) -> Path:
    """Return a component's folder: a subfolder with its name, or the pipeline's folder in the oldest pipelines."""
    return folder / name if (folder / name).is_dir() else folder


def _model(folder: Path, name: str, components: dict[str, str], supported: tuple[str, ...]) -> Any:
    kind, path = components.get(name), _component_folder(folder, name)
    if kind not in supported:
        raise UserError(f"{folder}: its {name} is {kind or 'missing'}; only {', '.join(supported)} is supported")
    try:
        loader = getattr(_diffusers(), kind)
        model, info = loader.from_pretrained(path, output_loading_info=True, local_files_only=True)
    except Exception as error:  # types of safetensors, pickle, diffusers and PyTorch
        raise UserError(f"{path} cannot be opened as {kind}: {first_line(error)}") from None
    if message := mismatch_message(info["missing_keys"], info["unexpected_keys"], map(str, info["mismatched_keys"])):
        raise UserError(f"{path} does not fit {kind}: {message}")
    return model.requires_grad_(False).eval().float()


def _scheduler(folder: Path, components: dict[str, str]) -> Any:
    """Return a DDIMScheduler with the betas, prediction type and clipping of the pipeline's scheduler."""
    diffusers, path = _diffusers(), _component_folder(folder, "scheduler")
    kind = getattr(diffusers, components.get("scheduler", ""), None)
    if kind is None:
        raise UserError(f'{folder}: its scheduler "{components.get("scheduler")}" does not exist in diffusers')
    try:
        own = kind.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be opened as {components['scheduler']}: {first_line(error)}") from None
    if not hasattr(own, "alphas_cumprod"):
        raise UserError(f"{folder}: its scheduler {kind.__name__} has no ᾱ (flow matching, for example); not supported")
    if own.config.get("thresholding") or (own.config.get("clip_sample") and own.config.clip_sample_range != 1):
        raise UserError(f"{folder}: its scheduler limits x_0 other than by clipping to [−1, 1]; not supported")
    return diffusers.DDIMScheduler.from_config(own.config)


def _decoder(
    folder: Path, components: dict[str, str], vae_scaling_factor: float | None, device: torch.device
) -> Callable[[Tensor], Tensor] | None:
    """Return a function that decodes codes to images, or None for a pixel model.

    CompVis trained its models on unscaled codes of a VQModel. LDMPipeline of diffusers divides them by the VQModel's
    scaling factor, which degrades the images of CompVis/ldm-celebahq-256 (diffusers, issue 6725).
    """
    kind = next((kind for kind in AUTOENCODERS if components.get(AUTOENCODERS[kind]) == kind), None)
    if kind is None:
        if unknown := components.keys() & set(AUTOENCODERS.values()):
            raise UserError(f"{folder}: its autoencoder {components[unknown.pop()]} is not supported")
        return None
    autoencoder = _model(folder, AUTOENCODERS[kind], components, (kind,)).to(device)
    training_scale = 1.0 if kind == "VQModel" else autoencoder.config.scaling_factor
    scale, shift = vae_scaling_factor or training_scale, autoencoder.config.get("shift_factor") or 0.0

    @torch.no_grad()
    def decode(codes: Tensor) -> Tensor:
        return autoencoder.decode(codes / scale + shift, return_dict=False)[0]

    return decode


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError:
        raise UserError("pipelines of diffusers require an extra: pip install 'noisemap[diffusers]'") from None
    diffusers.utils.logging.set_verbosity_error()
    return diffusers
