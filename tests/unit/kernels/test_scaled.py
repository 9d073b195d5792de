"""The Triton kernel of a scaled weight's error against its plain twin."""

from __future__ import annotations

import pytest
import torch
from formats_of_numbers import kernel_grids

from ptqbench.kernels.scaled import scaled_error_plain, scaled_half_plain
from ptqbench.numbers.grid import Grid

pytest.importorskip("triton")

from ptqbench.kernels.scaled_triton import launch, launch_half

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRIDS = [
    Grid(4, 16),
    Grid(2, 8),
    Grid(3, 24, symmetric=True),
    Grid(2, 16, half_integer=True),
    Grid(8, -1),
    *kernel_grids(),
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("rows", [1, 7])
def test_equals_its_twin(rows: int, grid: Grid) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, 384, generator=generator) * torch.logspace(-4, 1, 48).repeat(8)
    weight[0, :24] = 0  # an empty range
    scale = torch.rand(384, generator=generator) + 0.2
    found = launch(weight.to(DEVICE), scale.to(DEVICE), grid).cpu()
    expected = scaled_error_plain(weight, scale, grid)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("rows", [1, 7])
def test_half_equals_its_twin(rows: int, grid: Grid) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, 384, generator=generator)
    scale, root = (torch.rand(384, generator=generator) + 0.2 for _ in range(2))
    half, sums = (found.cpu() for found in launch_half(weight.to(DEVICE), scale.to(DEVICE), root.to(DEVICE), grid))
    expected, squares = scaled_half_plain(weight, scale, root, grid)
    torch.testing.assert_close(half, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(sums, squares, rtol=1e-5, atol=1e-9)
    assert half.dtype == torch.float16
    assert squares.min() > 0
