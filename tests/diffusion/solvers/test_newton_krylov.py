"""GMRES on small linear systems."""

import torch

from diffusion.solvers.newton_krylov import gmres


def test_a_krylov_space_smaller_than_the_number_of_steps_is_enough():
    """A multiple of the identity is solved by one product; further ones find no new direction."""
    residual = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gmres(lambda vector: 0.5 * vector, residual, 4), 2 * residual)


def test_a_vanishing_residual_needs_no_step():
    assert not gmres(lambda vector: 0.5 * vector, torch.zeros(1, 3, 2, 2), 3).any()


def test_full_krylov_space_solves_every_system():
    generator = torch.Generator().manual_seed(0)
    matrices = torch.eye(4).double() + 0.5 * torch.randn(5, 4, 4, generator=generator).double()
    residual = torch.randn(5, 1, 2, 2, generator=generator).double()
    solution = gmres(lambda v: (matrices @ v.reshape(5, 4, 1)).view_as(residual), residual, 4)
    torch.testing.assert_close((matrices @ solution.view(5, 4, 1)).view_as(residual), residual)
