"""Tiny pipelines of diffusers with random weights, one of each supported kind."""

import string
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

SIZE = 8  # of the latent codes
STABLE_DIFFUSION_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_pipeline(kind: str, **options: Any) -> Any:
    """Return a pipeline; `options` replace components, or configure the network (`network`) and scheduler."""
    torch.manual_seed(0)
    pipeline = BUILDERS[kind](options.pop("network", {}), options.pop("scheduler", {}))
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval()
    return pipeline


def clip_tokenizer() -> CLIPTokenizer:
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocab = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=16)


def clip_config(hidden: int, projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=54,
        hidden_size=hidden,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=projection,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )


def t5(hidden: int) -> tuple[T5EncoderModel, T5Tokenizer]:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    tokenizer = T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0)
    config = T5Config(vocab_size=len(pieces), d_model=hidden, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    return T5EncoderModel(config), tokenizer


def vae(shift_factor: float | None = None) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,), latent_channels=4, norm_num_groups=4, scaling_factor=0.5, shift_factor=shift_factor
    )


def text_unet(cross_attention_dim: int, **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIZE,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        **options,
    )


def dit(network: dict[str, Any], scheduler: dict[str, Any]) -> DiTPipeline:
    """DiTPipeline uses the null class 1000 for any number of classes."""
    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": SIZE, "patch_size": 2}
    transformer = DiTTransformer2DModel(in_channels=4, out_channels=8, num_embeds_ada_norm=1000, **sizes, **network)
    torch.nn.init.normal_(transformer.proj_out_2.weight, std=0.01)
    return DiTPipeline(transformer, vae(), DDIMScheduler(clip_sample=False, **scheduler))


def stable_diffusion(network: dict[str, Any], scheduler: dict[str, Any]) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(clip_config(8, 8)),
        tokenizer=clip_tokenizer(),
        unet=text_unet(8, **network),
        scheduler=DDIMScheduler(**STABLE_DIFFUSION_SCHEDULER | scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(network: dict[str, Any], scheduler: dict[str, Any]) -> StableDiffusionXLPipeline:
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(clip_config(8, 8)),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(16, 12)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=text_unet(24, **added, projection_class_embeddings_input_dim=6 * 4 + 12, **network),
        scheduler=DDIMScheduler(**STABLE_DIFFUSION_SCHEDULER | scheduler),
    )


def stable_diffusion_3(network: dict[str, Any], scheduler: dict[str, Any]) -> StableDiffusion3Pipeline:
    t5_encoder, t5_tokenizer = t5(32)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=SIZE,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=20,
            pos_embed_max_size=16,
            **network,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0} | scheduler),
        vae=vae(0.1),
        text_encoder=CLIPTextModelWithProjection(clip_config(8, 8)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(16, 12)),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_encoder,
        tokenizer_3=t5_tokenizer,
    )


def flux(network: dict[str, Any], scheduler: dict[str, Any]) -> FluxPipeline:
    t5_encoder, t5_tokenizer = t5(32)
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=8,
            axes_dims_rope=(2, 2, 4),
            **network,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, "use_dynamic_shifting": True} | scheduler),
        vae=vae(0.1),
        text_encoder=CLIPTextModel(clip_config(8, 8)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder,
        tokenizer_2=t5_tokenizer,
    )


BUILDERS = {
    "dit": dit,
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
}
