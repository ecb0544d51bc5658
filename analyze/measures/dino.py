"""How alike each image is to what its noise becomes at the end of training, to a network that has seen many."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.measures.cache import kept
from analyze.measures.unavailable import Unavailable

SIDE, CROP = 256, 224  # pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue
IMAGES_AT_ONCE = 64
ANSWER_WITHIN_S = 10


@dataclass(frozen=True)
class Dino:
    """Cosine similarity from −1 to 1, mean over the images."""

    mean: float


def dino(samples: Tensor, last_samples: Tensor, *, dino_model: str) -> Dino:
    """The cosine of the CLS features of each image [N, C, H, W] in [−1, 1] and of the last checkpoint's.

    `dino_model` is a vision transformer of 224 pixels: a name on Hugging Face's hub or a folder. Raises Unavailable
    where it cannot be had, or where the images have neither 1 nor 3 channels. Source: Caron et al. (2021); the
    paper, Figures 7 and 10.
    """
    if samples.shape[1] not in (1, 3):
        raise Unavailable(f"DINO looks at images of 1 or 3 channels; these have {samples.shape[1]}")
    model = _model(dino_model, samples.device)
    if isinstance(model, str):
        raise Unavailable(model)
    return Dino(
        F.cosine_similarity(_features(samples, model), _features_kept(last_samples, model), dim=1).mean().item()
    )


@torch.inference_mode()
def _features(images: Tensor, model: Any) -> Tensor:
    """CLS features [N, features] in float64 of images [N, C, H, W]."""
    parts = [model(pixel_values=prepared(part)).last_hidden_state[:, 0] for part in images.split(IMAGES_AT_ONCE)]
    return torch.cat(parts).double()


_features_kept = kept(_features)


def prepared(images: Tensor) -> Tensor:
    """What DINO is shown of images [n, 1 or 3, H, W] in [−1, 1]: their middle [n, 3, 224, 224], standardised.

    Resized along the rows, then along the columns, and each time cut to what a picture can hold, as Pillow does it.
    """
    colours = ((images.float() + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)
    wide = F.interpolate(colours, (images.shape[2], SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    resized = F.interpolate(wide, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    border = (SIDE - CROP) // 2
    cropped = resized[:, :, border : border + CROP, border : border + CROP]
    mean, std = (torch.tensor(values, device=images.device).reshape(3, 1, 1) for values in (MEAN, STD))
    return (cropped - mean) / std


@functools.lru_cache(maxsize=1)
def _model(name: str, device: torch.device) -> Any:
    """The network, loaded once a process; or why it cannot be had, so that it is asked for only once as well."""
    try:
        import transformers
    except ImportError:
        return "DINO needs transformers, which is not installed: pip install noisemap[dino]"
    try:
        return _load(transformers, name).to(device).eval()
    except Unavailable as reason:
        return str(reason)
    except Exception as error:  # whatever the hub, the network or the file raise
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        return (
            f"the weights {name} of DINO cannot be had ({why}); "
            "analyze.measures.dino_model may name a folder that holds them"
        )


def _load(transformers: Any, name: str) -> Any:
    """A ViTModel from a folder, from the hub's files on this machine, or from the hub.

    The hub is asked for the name first, since a download without a network tries for half a minute. Weights come
    from safetensors where there are any, else from a file that is read without executing anything.
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
        model, found = load(local_files_only=True)
    except OSError:
        if Path(name).exists():
            raise
        import huggingface_hub

        huggingface_hub.HfApi().model_info(name, timeout=ANSWER_WITHIN_S)
        model, found = load()
    if found["missing_keys"]:
        raise Unavailable(f"{name} is no vision transformer of DINO's kind: it lacks {min(found['missing_keys'])}")
    return model
