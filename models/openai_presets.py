"""Networks published by OpenAI: the flags in the projects' READMEs as our options, and the URL of each file.

Sources: github.com/openai/improved-diffusion and github.com/openai/guided-diffusion. Upsamplers and classifiers are
omitted because they do not generate images alone, and dropout because it affects training only.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from configs.schema import Diffusion, Model

SITE = "https://openaipublic.blob.core.windows.net/diffusion"

# Channel multipliers that both projects derive from the image size in pixels.
CHANNEL_MULT: dict[int, list[int | float]] = {
    32: [1, 2, 2, 2],
    64: [1, 2, 3, 4],
    128: [1, 1, 2, 3, 4],
    256: [1, 1, 2, 2, 4, 4],
    512: [0.5, 1, 1, 2, 2, 4, 4],
}


@dataclass(frozen=True)
class Preset:
    """A published network, the diffusion that it was trained under, and the URL of its file."""

    model: Model
    diffusion: Diffusion
    url: str


CLASSES = {"num_classes": 1000}  # class-conditional models of both projects are trained on ImageNet
COSINE_4000 = {"schedule": "cosine", "steps": 4000, "rescale_timesteps": True}
LINEAR_1000 = {"schedule": "linear", "steps": 1000, "rescale_timesteps": False}

CIFAR_10 = COSINE_4000 | {"image_size": 32, "model_channels": 128, "num_res_blocks": 3}
IMAGENET_64 = CIFAR_10 | {"image_size": 64}
BEDROOMS = LINEAR_1000 | {"image_size": 256, "model_channels": 128, "num_res_blocks": 2, "num_heads": 1}
BEDROOMS |= {"attention_resolutions": [16], "use_scale_shift_norm": False}

GUIDED = LINEAR_1000 | {"model_channels": 256, "num_res_blocks": 2, "resblock_updown": True, "use_fp16": True}
GUIDED |= {"attention_resolutions": [32, 16, 8], "num_head_channels": 64}
GUIDED_64 = GUIDED | {"image_size": 64, "model_channels": 192, "num_res_blocks": 3, "schedule": "cosine"}
GUIDED_256 = GUIDED | {"image_size": 256}

FILES: dict[str, dict[str, dict[str, Any]]] = {
    "march-2021": {  # improved-diffusion
        "cifar10_uncond_50M_500K": CIFAR_10,
        "cifar10_uncond_vlb_50M_500K": CIFAR_10,
        "imagenet64_uncond_100M_1500K": IMAGENET_64,
        "imagenet64_uncond_vlb_100M_1500K": IMAGENET_64,
        "imagenet64_cond_270M_250K": IMAGENET_64 | CLASSES | {"model_channels": 192, "rescale_timesteps": False},
        "lsun_uncond_100M_1200K_bs128": BEDROOMS,
        "lsun_uncond_100M_2400K_bs64": BEDROOMS,
    },
    "jul-2021": {  # guided-diffusion
        "64x64_diffusion": GUIDED_64 | CLASSES | {"use_new_attention_order": True},
        "128x128_diffusion": GUIDED | CLASSES | {"image_size": 128, "num_heads": 4, "num_head_channels": None},
        "256x256_diffusion": GUIDED_256 | CLASSES,
        "256x256_diffusion_uncond": GUIDED_256,
        "512x512_diffusion": GUIDED | CLASSES | {"image_size": 512, "use_fp16": False},
        "lsun_bedroom": GUIDED_256,
        "lsun_cat": GUIDED_256,
        "lsun_horse": GUIDED_256,
        "lsun_horse_nodropout": GUIDED_256,
    },
}


def build_config(config_type: type, values: dict[str, Any]) -> Any:
    """Return a configuration dataclass with the values of its fields; values of other names are ignored."""
    names = [field.name for field in dataclasses.fields(config_type) if field.name in values]
    return config_type(**{name: values[name] for name in names})


def _preset(month: str, name: str, flags: dict[str, Any]) -> Preset:
    flags = {"channel_mult": CHANNEL_MULT[flags["image_size"]]} | flags
    return Preset(build_config(Model, flags), build_config(Diffusion, flags), f"{SITE}/{month}/{name}.pt")


PRESETS = {name: _preset(month, name, flags) for month, files in FILES.items() for name, flags in files.items()}
