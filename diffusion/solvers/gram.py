"""Small linear systems per image, whose matrix is a Gram matrix and may be singular."""

import torch
from torch import Tensor

RIDGE = 1e-14  # of the trace: keeps nearly dependent vectors from making the inverse overflow
MIN_TRACE = 1e-200  # of vectors that are all 0; its inverse divided by RIDGE does not overflow


def solve_gram(gram: Tensor, target: Tensor) -> Tensor:
    """Return (G + r·I)⁻¹·b [N, m] in float64 for Gram matrices G [N, m, m] and b [N, m]; r is RIDGE times the trace."""
    gram, target = gram.double(), target.double()
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(min=MIN_TRACE)[:, None]
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram / trace[..., None] + RIDGE * identity, target / trace)
