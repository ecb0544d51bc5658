"""Cosine similarity of DINO features between each image and the last checkpoint's image from the same noise."""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.measures.cache import cache_last
from analyze.measures.unavailable import Unavailable
from configs.errors import first_line
from configs.schema import Measures

SIDE, CROP = 256, 224  # pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's RGB statistics
IMAGES_AT_ONCE = 64
HUB_TIMEOUT_S = 10
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Dino:
    """Cosine similarity from −1 to 1, mean over the images."""

    mean: float


def dino(samples: Tensor, last_samples: Tensor, *, dino_model: str) -> Dino:
    """Compute the mean cosine similarity of the CLS features of images [N, C, H, W] in [−1, 1] and the last ones.

    `dino_model` is a vision transformer for 224 pixels: a name on the Hugging Face hub or a folder. Raises Unavailable
    if the model cannot be loaded or if the images have neither 1 nor 3 channels.
    Source: Caron et al. (2021); the paper, Figures 7 and 10.
    """
    model = _available_model(samples, dino_model)
    cosines = F.cosine_similarity(_features(samples, model), _cached_features(last_samples, model), dim=1)
    return Dino(cosines.mean().item())


def dino_requirements(options: Measures, training: Path | None) -> dict[str, bool]:
    """Return whether transformers is installed, and whether it finds the weights without the hub."""
    is_installed = importlib.util.find_spec("transformers") is not None
    return {"transformers": is_installed, "weights": is_installed and _has_weights(str(options.dino_model))}


def _has_weights(name: str) -> bool:
    """Return whether weights are in a folder or in the hub's local cache, without a query of the hub."""
    import huggingface_hub

    try:
        cached = [huggingface_hub.try_to_load_from_cache(name, file) for file in WEIGHTS_FILES]
    except ValueError:  # not a name on the hub
        cached = []
    return Path(name).exists() or any(isinstance(file, str) for file in cached)


def dino_features(images: Tensor, dino_model: str) -> Tensor:
    """Return the CLS features [N, F] of images [N, C, H, W] in [−1, 1], in float64. Raises Unavailable like `dino`."""
    return _features(images, _available_model(images, dino_model))


def _available_model(images: Tensor, name: str) -> Any:
    """Return the network for images. Raises Unavailable if it cannot be loaded or does not fit the images."""
    if images.shape[1] not in (1, 3):
        raise Unavailable(f"DINO requires images with 1 or 3 channels; these have {images.shape[1]}")
    model = _model(name)
    if isinstance(model, Unavailable):
        raise model.again()
    return model.to(images.device)


@torch.inference_mode()
def _features(images: Tensor, model: Any) -> Tensor:
    """Return the CLS features [N, F] of images [N, C, H, W], in float64."""
    batches = [model(pixel_values=preprocess(batch)).last_hidden_state[:, 0] for batch in images.split(IMAGES_AT_ONCE)]
    return torch.cat(batches).double()


_cached_features = cache_last(_features)


def preprocess(images: Tensor) -> Tensor:
    """Convert images [n, 1 or 3, H, W] in [−1, 1] to DINO's input [n, 3, 224, 224]: resized, cropped and normalized.

    As in Pillow, the width is resized before the height, and each result is clamped to [0, 1].
    """
    colors = ((images.float() + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)
    wide = F.interpolate(colors, (images.shape[2], SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    resized = F.interpolate(wide, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    border = (SIDE - CROP) // 2
    cropped = resized[:, :, border : border + CROP, border : border + CROP]
    mean, std = (torch.tensor(values, device=images.device).reshape(3, 1, 1) for values in (MEAN, STD))
    return (cropped - mean) / std


@functools.lru_cache(maxsize=1)
def _model(name: str) -> Any:
    """Load the network on the CPU, or return the reason why that failed; either is cached for the process."""
    try:
        import transformers
    except ImportError:
        return Unavailable("DINO requires transformers, which is not installed: pip install -e '.[dino]' in the clone")
    try:
        return _load(transformers, name).eval()
    except Unavailable as reason:
        return reason.again()
    except Exception as error:  # the hub, the connection and the file raise exceptions of many types
        return Unavailable(
            f"the DINO weights {name} are not available ({first_line(error)}); "
            "set analyze.measures.dino_model to a folder that contains them"
        )


def _load(transformers: Any, name: str) -> Any:
    """Load a ViTModel from a folder, from the hub's local cache, or from the hub.

    The hub is queried for the name before the download, because a download without a connection retries for half a
    minute. Weights are read from safetensors if available, otherwise with `weights_only`, so no code is executed.
    Raises Unavailable if the weights are not those of a vision transformer.
    """
    transformers.logging.disable_progress_bar()
    load = functools.partial(
        transformers.ViTModel.from_pretrained,
        name,
        add_pooling_layer=False,
        weights_only=True,
        output_loading_info=True,
    )
    try:
        model, report = load(local_files_only=True)
    except OSError:
        if Path(name).exists():
            raise
        import huggingface_hub

        huggingface_hub.HfApi().model_info(name, timeout=HUB_TIMEOUT_S)
        model, report = load()
    if missing := report["missing_keys"]:
        raise Unavailable(f"{name} is not a DINO vision transformer: {min(missing)} is missing from its weights")
    return model
