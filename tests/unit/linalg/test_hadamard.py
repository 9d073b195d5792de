"""Hadamard matrices are built, not tabulated: every order that a model needs is checked to be one."""

from __future__ import annotations

import pytest
import torch

from ptqbench.linalg.hadamard import core, order_of, walsh_hadamard

CORES = [1, 2, 4, 12, 20, 28, 36, 44, 52, 76, 100, 108, 140, 148, 244, 344, 684]
WIDTHS = {
    4096: 1,
    8192: 1,
    768: 12,
    12288: 12,
    5120: 20,
    896: 28,
    3584: 28,
    14336: 28,
    28672: 28,
    1152: 36,
    1408: 44,
    2816: 44,
    9728: 76,
    13824: 108,
    8960: 140,
    18944: 148,
    11008: 344,
    22016: 344,
    10944: 684,
    29568: 924,
    4304: None,  # the vision tower of SigLIP
    172: None,
    3: None,
}


@pytest.mark.parametrize("k", CORES)
def test_rows_are_orthogonal_signs(k: int) -> None:
    matrix = core(k)
    assert matrix.dtype == torch.float64
    assert set(matrix.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(matrix @ matrix.T, k * torch.eye(k, dtype=torch.float64))


@pytest.mark.parametrize(("n", "order"), WIDTHS.items())
def test_smallest_order_of_a_width(n: int, order: int | None) -> None:
    assert order_of(n) == order


def test_walsh_hadamard_is_sylvesters_matrix() -> None:
    sylvester = torch.ones(1, 1)
    for _ in range(5):
        sylvester = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), sylvester)
    assert torch.equal(walsh_hadamard(torch.eye(32)), sylvester)
    x = torch.randn(3, 2, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(walsh_hadamard(x), x @ sylvester.double())
    assert torch.equal(walsh_hadamard(torch.ones(2, 1)), torch.ones(2, 1))
