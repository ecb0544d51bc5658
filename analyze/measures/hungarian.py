"""Accuracy of matching noise and image one to one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.assignment import optimal_assignment
from analyze.measures.pairwise import chunks


@dataclass(frozen=True)
class Hungarian:
    """Accuracy from 0 to 1: mean and standard deviation over disjoint chunks of the images."""

    accuracy: float
    accuracy_std: float


def hungarian(noise: Tensor, samples: Tensor, *, mapping_images: int) -> Hungarian:
    """Compute how often an image is matched with its own noise if each noise is used once.

    noise x_T and samples x_0 are [N, C, H, W]. Among all permutations π, the match minimizes Σ ‖x_0ⁱ − x_T^π(i)‖². It
    is computed in the chunks of `noise_mapping`, so both accuracies have the same number of candidates. The standard
    deviation of a single chunk is 0.
    Source: Kuhn (1955), "The Hungarian method for the assignment problem".
    """
    ranges = chunks(len(noise), mapping_images)
    solved = [optimal_assignment(noise, samples, chunk.start, chunk.stop) for chunk in ranges]
    accuracies = torch.tensor([assignment.accuracy for assignment in solved], dtype=torch.float64)
    std = accuracies.std().item() if len(accuracies) > 1 else 0.0
    return Hungarian(accuracies.mean().item(), std)
