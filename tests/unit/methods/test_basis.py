"""A site's basis: nothing is lost on the way there and back, and errors cost the same in both."""

from __future__ import annotations

import pytest
import torch
from small_problems import inputs

from ptqbench.linalg.orthogonal import kronecker, random_hadamard
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.basis import SiteBasis

M, N = 12, 24
BASES = {
    "identity": SiteBasis(),
    "scaled": SiteBasis(scale=torch.linspace(0.3, 3.0, N, dtype=torch.float64)),
    "incoherent": SiteBasis(
        scale=torch.linspace(0.3, 3.0, N, dtype=torch.float64), right=kronecker(N, 1), left={"q": kronecker(M, 2)}
    ),
    "hadamard": SiteBasis(right=random_hadamard(N, 1), left={"q": random_hadamard(M, 2)}),
}


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(M, N, generator=generator, dtype=torch.float64), inputs(N, 80)


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES.keys())
def test_outputs_are_the_same_in_the_new_basis(basis: SiteBasis) -> None:
    weight, x = tensors()
    moved = x if basis.scale is None else x / basis.scale
    moved = moved if basis.right is None else basis.right.apply(moved)
    out = moved @ basis.of("q").forward(weight).T
    out = out if "q" not in basis.left else basis.left["q"].inverse(out)
    torch.testing.assert_close(out, x @ weight.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES.keys())
def test_second_moment_is_that_of_the_moved_inputs(basis: SiteBasis) -> None:
    _, x = tensors()
    moved = x if basis.scale is None else x / basis.scale
    moved = moved if basis.right is None else basis.right.apply(moved)
    torch.testing.assert_close(basis.moment(x.T @ x), moved.T @ moved, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES.keys())
def test_errors_cost_the_same_in_both_bases(basis: SiteBasis) -> None:
    weight, x = tensors()
    other = weight + 0.1 * torch.randn(M, N, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    hessian = x.T @ x / len(x)
    there = basis.of("q").forward(weight) - basis.of("q").forward(other)
    expected = proxy_loss(weight - other, hessian).sum()
    torch.testing.assert_close(proxy_loss(there, basis.moment(hessian)).sum(), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES.keys())
def test_the_way_back_undoes_the_way_there_and_carries_gradients(basis: SiteBasis) -> None:
    weight, own = tensors()[0], basis.of("q")
    moved = own.forward(weight).clone().requires_grad_()
    back = own.back(moved)
    torch.testing.assert_close(back, weight, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad((back * weight).sum(), moved)
    step = torch.randn(M, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close((gradient * step).sum(), (own.back(step) * weight).sum(), rtol=1e-9, atol=1e-9)
