"""The Triton kernels of fake quantization against their plain twin and its gradients."""

from __future__ import annotations

import pytest
import torch
from formats_of_numbers import kernel_grids
from torch import Tensor

from ptqbench.kernels.fake import FakeQuantize, SoftGrid, fake_quantize_plain, narrow, soft_grid_plain
from ptqbench.numbers.floats import FloatGrid
from ptqbench.numbers.grid import Grid

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRIDS = [
    Grid(4, 16),
    Grid(2, 8),
    Grid(3, 24, symmetric=True),
    Grid(2, 16, half_integer=True),
    Grid(8, -1),
    *kernel_grids(),
]


def kernels(
    weights: list[Tensor],
    scale: Tensor,
    zero: Tensor,
    offset: Tensor | None,
    grid: Grid,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, ...]:
    shifts = () if offset is None else offset.split([len(weight) for weight in weights])
    return FakeQuantize.apply(scale.flatten(), zero.flatten(), grid, dtype, len(weights), *weights, *shifts)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("rows", [1, 7])
def test_equals_its_twin(rows: int, grid: Grid, shifted: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, wanted = (torch.randn(rows, 384, generator=generator).to(DEVICE) for _ in range(2))
    groups = grid.grouped(weight)
    bounds = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale, zero = grid.from_bounds(*(0.6 * bound for bound in bounds))  # some codes are clamped
    offset = (torch.rand(rows, 384, generator=generator) - 0.5).to(DEVICE) if shifted else None
    sides = []
    for function in (
        lambda *given: kernels([weight], *given, grid)[0],
        lambda *given: fake_quantize_plain(weight, *given, grid),
    ):
        leaves = [None if leaf is None else leaf.clone().requires_grad_() for leaf in (scale, zero, offset)]
        with torch.enable_grad():
            value = function(*leaves)
            (value * wanted).sum().backward()
        sides.append([value.detach(), *(leaf.grad for leaf in leaves if leaf is not None)])
    for found, expected in zip(*sides, strict=True):
        if expected is not None:  # floats have no zero-point
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    clamped = (sides[1][0] - weight).abs() > scale.repeat_interleave(grid.width(384), 1)
    assert clamped.any() or rows == 1 or isinstance(grid, FloatGrid)


def test_values_in_half_precision_are_rounded_once() -> None:
    grid, weight = Grid(4, 16), torch.randn(5, 48, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    groups = grid.grouped(weight)
    scale, zero = grid.from_bounds(groups.amin(-1), groups.amax(-1))
    (found,) = kernels([weight], scale, zero, None, grid, torch.float16)
    assert torch.equal(found, fake_quantize_plain(weight, scale, zero, None, grid).half())


@pytest.mark.parametrize("shifted", [False, True])
def test_several_weights_are_what_each_is_alone(shifted: bool) -> None:
    grid, generator = Grid(3, 16), torch.Generator().manual_seed(2)
    whole, wanted = (torch.randn(12, 48, generator=generator).to(DEVICE) for _ in range(2))
    groups = grid.grouped(whole)
    grids = grid.from_bounds(groups.amin(-1) / 2, groups.amax(-1) / 2)
    shift = (torch.rand(12, 48, generator=generator) - 0.5).to(DEVICE) if shifted else None
    sides = []
    for weights in ([whole], list(whole.split([5, 4, 3]))):
        leaves = [leaf.clone().requires_grad_() for leaf in (*grids, shift) if leaf is not None]
        with torch.enable_grad():
            values = torch.cat(kernels(weights, *leaves[:2], leaves[2] if shifted else None, grid))
            (values * wanted).sum().backward()
        sides.append([values.detach(), *(leaf.grad for leaf in leaves)])
    assert all(torch.equal(found, expected) for found, expected in zip(*sides, strict=True))
    assert all(side.abs().max() > 0 for side in sides[0])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_scale_and_zero_of_learned_ends(grid: Grid) -> None:
    generator = torch.Generator().manual_seed(1)
    low, high = (side * (torch.rand(37, 41, generator=generator) + 0.5).to(DEVICE) for side in (-1, 2))
    low[:, 7] = -high[:, 7]  # of equal ends each gets half of what a symmetric scale gets
    low[0], high[1], low[2], high[2] = 0, 0, 0, 0
    wanted = torch.randn(2, 37, 41, generator=generator).to(DEVICE)
    sides = []
    for function in (SoftGrid.apply, soft_grid_plain):
        ends = [end.clone().requires_grad_() for end in (low, high)]
        with torch.enable_grad():
            scale, zero = function(*ends, grid)
            (wanted[0] * scale + wanted[1] * zero).sum().backward()
        sides.append((scale.detach(), zero.detach(), *(end.grad for end in ends)))
    assert torch.equal(sides[0][0], sides[1][0])
    assert torch.equal(sides[0][1], sides[1][1])
    for found, expected in zip(sides[0][2:], sides[1][2:], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())
    assert sides[1][2].abs().max() > 0
    assert sides[1][3].abs().max() > 0


def test_a_narrow_weight_is_the_same_weight() -> None:
    grid, wide = Grid(3, 16), torch.randn(5, 48, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    assert narrow(wide) is wide
    weight = wide.bfloat16().float()
    half = narrow(weight)
    assert half.dtype == torch.bfloat16
    groups = grid.grouped(weight)
    sides = []
    for each in (half, weight):
        leaves = [leaf.requires_grad_() for leaf in grid.from_bounds(groups.amin(-1) / 2, groups.amax(-1))]
        with torch.enable_grad():
            (value,) = kernels([each], *leaves, None, grid)
            (value * wide).sum().backward()
        sides.append((value.detach(), *(leaf.grad for leaf in leaves)))
    assert torch.equal(sides[0][0], sides[1][0])
    for found, expected in zip(sides[0][1:], sides[1][1:], strict=True):  # sums, in another order
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
