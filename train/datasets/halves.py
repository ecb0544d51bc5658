"""Disjoint halves of a dataset, which are the same on every machine and for every seed."""

from typing import Literal

import numpy as np

from diffusion.randomness import generator

Half = Literal["first", "second"]


def half_indices(labels: np.ndarray, half: Half) -> np.ndarray:
    """Return the ascending indices of the images in a half, for labels [N] of all images.

    The images of each class are shuffled by a fixed permutation and dealt alternately to the two halves. So both halves
    contain the same number of images, and of every class, up to one image. They depend only on the labels, not on the
    seed of the experiment.
    """
    shuffled = generator(0, "half").permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_class[0 if half == "first" else 1 :: 2])
