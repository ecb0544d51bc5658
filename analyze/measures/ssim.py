"""How alike each image is to what its noise becomes at the end of training: structural similarity."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

WINDOW = 7  # pixels
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Ssim:
    """SSIM from −1 to 1, mean over images and channels."""

    mean: float


def ssim(samples: Tensor, last_samples: Tensor) -> Ssim:
    """SSIM of each image [N, C, H, W] in [−1, 1] with the last checkpoint's from the same noise.

    Per channel, uniform 7×7 window, pixels brought to [0, 1] (data range 1). Source: Wang et al. (2004), in
    torchmetrics; the authors use scikit-image, which leaves the border out.
    """
    total = 0.0
    for now, last in zip(samples.split(IMAGES_AT_ONCE), last_samples.split(IMAGES_AT_ONCE), strict=True):
        values = structural_similarity_index_measure(
            (now.double() + 1) / 2,
            (last.double() + 1) / 2,
            gaussian_kernel=False,
            kernel_size=WINDOW,
            data_range=1.0,
            reduction="none",
        )
        total += torch.as_tensor(values).sum().item()
    return Ssim(total / len(samples))
