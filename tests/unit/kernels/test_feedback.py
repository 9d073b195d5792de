"""The Triton kernel against its plain twin: on a GPU where there is one, otherwise in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from formats_of_numbers import kernel_grids
from torch import Tensor

from ptqbench.kernels.feedback import Block, round_block_plain
from ptqbench.numbers.floats import FloatGrid
from ptqbench.numbers.grid import Grid

pytest.importorskip("triton")

from ptqbench.kernels import sums as columns
from ptqbench.kernels.feedback_triton import launch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRIDS = [
    Grid(4, 16),
    Grid(2, 16),
    Grid(3, 16, symmetric=True),
    Grid(2, 16, half_integer=True),
    Grid(8, 16),
    *kernel_grids(),
]


def problem(width: int, m: int, grid: Grid) -> Block:
    """A block in the middle of a larger factor, with targets that earlier blocks have moved."""
    generator = torch.Generator().manual_seed(width + m)
    weight = torch.randn(width, m, generator=generator)
    target = weight + 0.1 * torch.randn(width, m, generator=generator)
    linear = torch.randn(2 * width, 2 * width, generator=generator).triu() / 4
    pivots = torch.rand(width, generator=generator) + 0.5
    scale, zero = grid.from_bounds(torch.full((5, m), -2.0), 2.0 + torch.rand(5, m, generator=generator))
    groups = torch.randint(5, (width,), generator=generator)
    parts = (target, weight, linear[width:, width:], pivots, scale, zero, groups)
    return Block(*(part.to(DEVICE) for part in parts))


def outputs(block: Block) -> tuple[Tensor, Tensor, Tensor]:
    codes = torch.full(block.target.shape, 99, dtype=torch.uint8, device=DEVICE)
    return codes, torch.empty_like(block.target), torch.ones(block.target.shape[1], device=DEVICE)


SHAPES = [(16, 40, 16), (1, 33, 32), (50, 20, 16), (24, 16, 16), (32, 7, 8), (96, 40, 16)]  # width, m, rows
CASES = [(grid, *shape) for grid in GRIDS for shape in SHAPES[: 3 if isinstance(grid, FloatGrid) else None]]


@pytest.mark.parametrize(("grid", "width", "m", "rows"), CASES, ids=str)
def test_equals_its_twin(grid: Grid, width: int, m: int, rows: int) -> None:
    block, twin = problem(width, m, grid), problem(width, m, grid)
    found, expected = outputs(block), outputs(twin)
    launch(block, grid, *found, rows=rows)
    round_block_plain(twin, grid, *expected)
    assert torch.equal(found[0], expected[0])
    assert found[0].unique().numel() > 2 or width == 1
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[2], expected[2], rtol=1e-5, atol=1e-5)


def test_the_factor_may_lie_column_by_column() -> None:
    grid = Grid(4, 16)
    block, twin = problem(48, 20, grid), problem(48, 20, grid)
    found, expected = outputs(block), outputs(twin)
    launch(block._replace(linear=block.linear.T.contiguous().T), grid, *found)
    round_block_plain(twin, grid, *expected)
    assert torch.equal(found[0], expected[0])


def test_ties_go_to_the_even_code_and_large_values_to_the_ends() -> None:
    grid = Grid(4)
    steps = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, 3e38]], device=DEVICE)
    one = torch.ones_like(steps)
    block = Block(
        steps.clone(),
        steps,
        torch.ones(1, 1, device=DEVICE),
        one[0, :1],
        one,
        8 * one,
        torch.zeros(1, dtype=torch.int64, device=DEVICE),
    )
    found = outputs(block)
    launch(block, grid, *found)
    assert found[0].tolist() == [[8, 10, 10, 8, 6, 15, 0, 15]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_of_columns(dtype: torch.dtype) -> None:
    x = torch.randn(301, 200, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)
    total, largest = columns.magnitudes(x)
    torch.testing.assert_close(total, x.double().abs().sum(0))
    assert torch.equal(largest, x.float().abs().amax(0))
    torch.testing.assert_close(columns.powers(x), torch.stack([(x.double() ** k).sum(0) for k in (1, 2, 3, 4)]))
