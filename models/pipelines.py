"""Pipelines of diffusers as denoisers, from a folder or from the Hugging Face Hub.

Networks, text encoders, autoencoders and schedulers are those of diffusers and transformers. docs/models.md lists the
supported pipelines.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs.errors import UserError
from diffusion.denoiser import Denoiser
from diffusion.solvers.spacing import TimestepSpacing
from models.autoencoders import Decoder, open_decoder
from models.compiled import copy_to
from models.components import import_diffusers, load_model, load_scheduler, read_index
from models.networks import (
    ClassTransformer,
    DiffusersNetwork,
    FluxTransformer,
    MultimodalTransformer,
    ScoreNetwork,
    SizedTextUNet,
    TextNetwork,
    TextUNet,
)
from models.pipeline_options import PipelineOptions, check_class_options, check_text_options
from models.schedulers import open_process, variance_exploding
from models.text import embed

NO_OPTIONS = PipelineOptions()


@dataclass(frozen=True)
class Family:
    """Pipelines with the same kind of network: its component, its classes and its wrapper.

    The network's tokens are patches of `packing` × `packing` values, which its pipeline packs into channels;
    `default_size` is the size of the latent if the network's configuration does not contain it.
    """

    component: str
    networks: tuple[str, ...]
    wrapper: type[nn.Module]
    packing: int = 1
    default_size: int | None = None


SCORE_PIPELINE = "ScoreSdeVePipeline"
UNCONDITIONAL = Family("unet", ("UNet2DModel",), DiffusersNetwork)
FAMILIES = {
    "DiTPipeline": Family("transformer", ("DiTTransformer2DModel", "Transformer2DModel"), ClassTransformer),
    "StableDiffusionPipeline": Family("unet", ("UNet2DConditionModel",), TextUNet),
    "StableDiffusionXLPipeline": Family("unet", ("UNet2DConditionModel",), SizedTextUNet),
    "StableDiffusion3Pipeline": Family("transformer", ("SD3Transformer2DModel",), MultimodalTransformer),
    "FluxPipeline": Family("transformer", ("FluxTransformer2DModel",), FluxTransformer, packing=2, default_size=128),
}


@dataclass(frozen=True)
class Pipeline:
    """An opened pipeline: its denoiser on the CPU in float32, and the timesteps of its scheduler."""

    kind: str
    denoiser: Denoiser
    spacing: TimestepSpacing

    def load_denoiser(self, device: torch.device, half: torch.dtype | None = None) -> Denoiser:
        """Return the denoiser on a device, the weights of its matrix products and convolutions as `half` if set.

        The autoencoder stays in float32; those of some models overflow in half precision.
        """
        network, decode = self.denoiser.network, self.denoiser.decode
        assert isinstance(network, nn.Module)
        decode = copy_to(decode, device) if isinstance(decode, Decoder) else None
        return replace(self.denoiser, network=copy_to(network, device, half), decode=decode, device=device)


def download_pipeline(name: str) -> Path:
    """Return the folder of a pipeline on the Hugging Face Hub, such as "google/ddpm-cifar10-32", downloaded if needed.

    Raises UserError if it is neither in the cache of the hub nor can be downloaded.
    """
    diffusers = import_diffusers()
    try:
        return Path(diffusers.DiffusionPipeline.download(name))
    except Exception as error:  # the client raises many types: no network, unknown name, no permission
        with suppress(Exception):  # where packets are dropped, the client does not try its cache
            return Path(diffusers.DiffusionPipeline.download(name, local_files_only=True))
        raise UserError(_download_problem(name, type(error).__name__)) from None


def _download_problem(name: str, error: str) -> str:
    """Return a sentence on a pipeline that the hub's client did not download, from the type of its error."""
    if error == "GatedRepoError":
        return (
            f"{name} is not public: accept the license at https://huggingface.co/{name}, log in with  hf auth login  "
            "and rerun the same command"
        )
    return (
        f"{name} is not a local file or folder and could not be downloaded from the Hugging Face Hub ({error}: no "
        "network, or no such model); set source= to a folder of save_pretrained"
    )


def open_pipeline(folder: Path, options: PipelineOptions = NO_OPTIONS) -> Pipeline:
    """Open the pipeline in a folder, with a decoder if it has an autoencoder.

    Raises UserError if a component is missing, damaged or not supported, or if an option does not apply.
    """
    kind, components = read_index(folder)
    family = FAMILIES.get(kind, UNCONDITIONAL)
    if components.get(family.component) not in family.networks:
        raise UserError(f"{folder}: {_unsupported(kind, components)}")
    network = load_model(folder, family.component, components, family.networks)
    scheduler, decoder = (
        load_scheduler(folder, components),
        open_decoder(folder, components, options.vae_scaling_factor),
    )
    _check_network(folder, family, network)
    shape = _shape(folder, family, network.config, options)
    tokens = (shape[1] // _patch_size(family, network.config)) ** 2
    if kind == SCORE_PIPELINE:
        check_class_options(folder, options, has_null=False)
        process, config = variance_exploding(folder, scheduler), scheduler.config
        wrapped: nn.Module = ScoreNetwork(network, config.sigma_min, config.sigma_max, config.num_train_timesteps)
    else:
        process = open_process(folder, scheduler, tokens, from_one=kind == "FluxPipeline")
        wrapped = _wrap(folder, kind, network, options, decoder, shape[1])
    denoiser = Denoiser(
        network=wrapped,
        levels=process.levels,
        shape=shape,
        timestep_scale=1.0,
        num_classes=len(options.prompts) or _number_of_classes(network.config),
        device=torch.device("cpu"),
        prediction_type=process.prediction_type,
        clip=process.clip,
        decode=decoder,
        evaluations_per_call=getattr(wrapped, "evaluations_per_call", 1),
    )
    return Pipeline(kind, denoiser, process.spacing)


def _wrap(
    folder: Path, kind: str, network: Any, options: PipelineOptions, decoder: Decoder | None, size: int
) -> nn.Module:
    """Return the network with the call signature of a denoiser's, with its conditions and guidance."""
    wrapper = FAMILIES.get(kind, UNCONDITIONAL).wrapper
    if issubclass(wrapper, TextNetwork):
        return _with_prompts(folder, kind, network, options, decoder, size)
    check_class_options(folder, options, has_null=wrapper is ClassTransformer)
    if wrapper is ClassTransformer:
        return ClassTransformer(network, options.guidance, null=network.config.num_embeds_ada_norm)
    return wrapper(network)


def _with_prompts(
    folder: Path, kind: str, network: Any, options: PipelineOptions, decoder: Decoder | None, size: int
) -> nn.Module:
    check_text_options(folder, options, network.config)
    if decoder is None:
        raise UserError(f"{folder}: its autoencoder is missing")
    needs_null = options.needs_null(network.config)
    embeddings = embed(folder, kind, network, options.prompts, options.negative_prompt, needs_null)
    if kind == "StableDiffusionXLPipeline":
        return SizedTextUNet(network, options.guidance, embeddings, image_size=size * decoder.factor)
    return FAMILIES[kind].wrapper(network, options.guidance, embeddings)


def _number_of_classes(config: Any) -> int | None:
    return config.get("num_embeds_ada_norm") or config.get("num_class_embeds")


def _patch_size(family: Family, config: Any) -> int:
    """Return the number of values along the side of a token."""
    return family.packing * (config.get("patch_size") or 1)


def _shape(folder: Path, family: Family, config: Any, options: PipelineOptions) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of x_T. Raises UserError if the network has no such size."""
    size, patch = options.latent_size or config.get("sample_size") or family.default_size, _patch_size(family, config)
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        size = size[0]
    if not isinstance(size, int):
        raise UserError(f"{folder}: sample_size of the network is not a number; only square images are supported")
    if size % patch:
        raise UserError(f"{folder}: latent_size={size} is not divisible by the size of the network's patches, {patch}")
    return config.in_channels // family.packing**2, size, size


def _check_network(folder: Path, family: Family, network: Any) -> None:
    """Raise UserError if the network has inputs other than x_t, the timestep and its family's conditions."""
    config, channels = network.config, network.config.in_channels
    if (config.get("out_channels") or channels) not in (channels, 2 * channels):
        raise UserError(f"{folder}: the network has inputs other than x_t (another image, for example); not supported")
    if config.get("time_cond_proj_dim"):
        raise UserError(f"{folder}: the network is a consistency model, which DDIM does not sample; not supported")
    if family.networks != ("UNet2DConditionModel",):
        return
    expected = "text_time" if family.wrapper is SizedTextUNet else None
    others = [config.get(name) for name in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")]
    if any(others) or config.addition_embed_type != expected:
        raise UserError(f"{folder}: the network has conditions other than the prompt; not supported")


def _unsupported(kind: str, components: dict[str, str]) -> str:
    """Return a sentence on a pipeline whose network is not supported."""
    networks = [f"{name} {components[name]}" for name in ("unet", "transformer", "prior") if name in components]
    return (
        f"{kind or 'a pipeline'} with {' and '.join(networks) or 'no network'} is not supported; supported are "
        f"pipelines with a UNet2DModel, and {', '.join(FAMILIES)}"
    )
