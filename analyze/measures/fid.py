"""Fréchet Inception distance (FID) between the generated images and the training set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from analyze.generations import training_images_requirement
from analyze.measures.cache import cache_last
from analyze.measures.unavailable import Unavailable
from configs.errors import first_line
from configs.schema import Measures

IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Fid:
    """The distance, which is 0 if the features have the same mean and covariance."""

    value: float


def fid(samples: Tensor, training_images: Tensor, *, fid_network: str | None) -> Fid:
    """Compute the FID of images [N, C, H, W] in [−1, 1] against training images, uint8 [M, C, H, W].

    `fid_network` is a TorchScript file supplied by the user: uint8 images [n, 3, H, W] → features [n, F]. Raises
    Unavailable if it cannot be loaded or if there are no training images. Values are comparable only for equal N,
    network and training set. Source: Heusel et al. (2017), computed by torchmetrics.
    """
    if not len(training_images):
        raise Unavailable("FID requires the training images, which are not prepared on this machine")
    metric = _metric_of_training_set(training_images, str(fid_network), samples.device)
    if isinstance(metric, Unavailable):
        raise metric.again()
    metric.reset()  # drops the generated images and keeps the statistics of the training set
    for batch in samples.split(IMAGES_AT_ONCE):
        metric.update(_colors(((batch.clamp(-1, 1) + 1) * 127.5).round().byte()), real=False)
    return Fid(metric.compute().item())


def fid_requirements(options: Measures, training: Path | None) -> dict[str, bool]:
    """Return whether the network's file and the training images exist."""
    return {"network": Path(str(options.fid_network)).is_file(), **training_images_requirement(options, training)}


@cache_last
def _metric_of_training_set(images: Tensor, network: str, device: torch.device) -> Any:
    """Return the metric updated with the training images, or the reason why the network cannot be used."""
    try:
        features = torch.jit.load(network, map_location="cpu").eval()  # the constructor calls it on the CPU
        size = (3, *images.shape[2:])
        metric = FrechetInceptionDistance(features, reset_real_features=False, input_img_size=size).to(device)
    except Exception as error:  # the file and the network in it raise exceptions of many types
        return Unavailable(
            f"the FID network analyze.measures.fid_network={network} cannot be used ({first_line(error)})"
        )
    for batch in images.split(IMAGES_AT_ONCE):
        metric.update(_colors(batch.to(device)), real=True)
    return metric


def _colors(images: Tensor) -> Tensor:
    """Return uint8 images [n, C, H, W] with three channels; a gray channel is repeated."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
