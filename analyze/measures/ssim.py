"""Structural similarity (SSIM) of each image with the last checkpoint's image from the same noise."""

from dataclasses import dataclass

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from analyze.measures.unavailable import Unavailable

WINDOW = 7  # pixels
K2 = 0.03
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Ssim:
    """SSIM from −1 to 1, mean over windows, channels and images."""

    mean: float


def ssim(samples: Tensor, last_samples: Tensor) -> Ssim:
    """Compute the mean SSIM of images [N, C, H, W] in [−1, 1] with the images of the last checkpoint.

    Per channel, over all uniform 7×7 windows inside the image, on pixels scaled to [0, 1] (data range 1), with sample
    covariances (divided by 48): `skimage.metrics.structural_similarity(win_size=7, data_range=1)`, which the paper's
    authors call. The only difference is the precision: float64 here, that of the images there.
    Raises Unavailable if the images are smaller than a window.
    Source: Wang et al. (2004), equation 13, computed by torchmetrics.
    """
    height, width = samples.shape[2:]
    if min(height, width) < WINDOW:
        raise Unavailable(f"SSIM requires images of at least {WINDOW}×{WINDOW} pixels; these have {height}×{width}")
    batches = zip(samples.split(IMAGES_AT_ONCE), last_samples.split(IMAGES_AT_ONCE), strict=True)
    return Ssim(sum(_per_image(*batch).sum().item() for batch in batches) / len(samples))


def _per_image(images: Tensor, last_images: Tensor) -> Tensor:
    """Return the SSIM [n] of each pair of images [n, C, H, W]."""
    _, windows = structural_similarity_index_measure(
        (images.double() + 1) / 2,
        (last_images.double() + 1) / 2,
        gaussian_kernel=False,
        kernel_size=WINDOW,
        data_range=1.0,
        k2=K2 * (1 - 1 / WINDOW**2) ** 0.5,  # scaling c₂ by 48/49 equals scaling all covariances by 49/48
        reduction="none",
        return_full_image=True,
    )
    border = WINDOW // 2  # windows centered closer to the edge reach into torchmetrics' padding
    return windows[:, :, border:-border, border:-border].mean(dim=(1, 2, 3))
