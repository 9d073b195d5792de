"""The Triton kernel of the clipping search against its plain twin."""

from __future__ import annotations

import pytest
import torch
from formats_of_numbers import kernel_grids

from ptqbench.kernels.clip import best_shrinks_plain
from ptqbench.numbers.grid import Grid

pytest.importorskip("triton")

from ptqbench.kernels.clip_triton import launch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRIDS = [Grid(4, 16), Grid(2, 16), Grid(3, 16, symmetric=True), Grid(2, 16, half_integer=True), *kernel_grids()]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("rows", [1, 70])
@pytest.mark.parametrize("width", [16, 32])
def test_equals_its_twin(rows: int, grid: Grid, width: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, 3, width, generator=generator) ** 3  # tails that are worth clipping
    weight[0, 1] = 0
    x = torch.randn(3, 100, width, generator=generator)
    hessian = x.mT @ x / 100
    shrinks = [1 - step / 20 for step in range(10)]
    found = launch(weight.to(DEVICE), grid, hessian.to(DEVICE), shrinks).cpu()
    expected = best_shrinks_plain(weight, grid, hessian, shrinks)
    assert torch.equal(found, expected)
    assert found.min() < 1 or rows == 1 or grid.bits >= 6  # whose levels are not even: there is nothing to gain
