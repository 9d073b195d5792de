"""The short way to the nearest values is the way through codes, to the bit."""

from __future__ import annotations

import pytest
import torch
from formats_of_numbers import float_grids

from ptqbench.numbers.grid import Grid


@pytest.mark.parametrize("grid", [Grid(3, 32), Grid(4, 32, True), *float_grids()], ids=lambda grid: grid.NUMBER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounded(grid: Grid, dtype: torch.dtype) -> None:
    weight = torch.randn(16, 128, generator=torch.Generator().manual_seed(0), dtype=dtype)
    weight[0, :3], weight[1] = torch.tensor([0.0, -0.0, 1e-30], dtype=dtype), 0.0
    groups = grid.grouped(weight)
    scale, zero = (part.unsqueeze(-1) for part in grid.from_bounds(groups.amin(-1), groups.amax(-1)))
    found = grid.rounded(groups, scale, zero)
    assert torch.equal(found, grid.decode(grid.encode(groups, scale, zero), scale, zero))
