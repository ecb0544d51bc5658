"""How close the images are to the training set, as a network sees both: Fréchet Inception distance."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from analyze.measures.cache import kept
from analyze.measures.unavailable import Unavailable
from configs.errors import first_line

IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Fid:
    """The distance: 0 for the same distribution of features."""

    value: float


def fid(samples: Tensor, training_images: Tensor, *, fid_network: str | None) -> Fid:
    """FID of images [N, C, H, W] in [−1, 1] against training images, uint8 [M, C, H, W].

    `fid_network` is a TorchScript file of the user's: uint8 images [n, 3, H, W] → features [n, F]. Raises Unavailable
    where it cannot be loaded, or there are no training images. Values of different N, networks or sets do not
    compare. Source: Heusel et al. (2017), in torchmetrics.
    """
    if not len(training_images):
        raise Unavailable("FID needs the training images, which are not prepared on this machine")
    metric = _seen_training(training_images, str(fid_network), samples.device)
    if isinstance(metric, str):
        raise Unavailable(metric)
    metric.reset()  # the generated images; what the training set looks like is kept
    for batch in samples.split(IMAGES_AT_ONCE):
        metric.update(_colours(((batch.clamp(-1, 1) + 1) * 127.5).round().byte()), real=False)
    return Fid(metric.compute().item())


@kept
def _seen_training(images: Tensor, network: str, device: torch.device) -> Any:
    """The metric after it has seen the training images; or why the network cannot be had."""
    try:
        features = torch.jit.load(network, map_location=device).eval()
        size = (3, *images.shape[2:])
        metric = FrechetInceptionDistance(features, reset_real_features=False, input_img_size=size).to(device)
    except Exception as error:  # whatever the file or what is in it raise
        return f"the network of FID, analyze.measures.fid_network={network}, cannot be used ({first_line(error)})"
    metric.set_dtype(torch.float64)
    for batch in images.split(IMAGES_AT_ONCE):
        metric.update(_colours(batch.to(device)), real=True)
    return metric


def _colours(images: Tensor) -> Tensor:
    """Images uint8 [n, C, H, W] with three channels, grey ones three times over."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
