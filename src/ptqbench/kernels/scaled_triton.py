"""The Triton kernels of :mod:`ptqbench.kernels.scaled`: a program holds a group of columns of a few rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ptqbench.numbers.grid import Grid
from ptqbench.numbers.grid_triton import constants, from_bounds, level, number

ELEMENTS = 4096  # of a program


@triton.jit
def _error(
    weight, scale, m, n, width, q_max, middle, smallest, largest,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CENTRED: tl.constexpr, NUMBER: tl.constexpr,
    EXACT: tl.constexpr,
):  # fmt: skip
    """A program's error, where it is, which of it is held, and its rows and columns.

    Unless ``EXACT``, it multiplies by reciprocals: where a code is at a tie, it may be the other one.
    """
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    within = tl.arange(0, COLUMNS)
    column = tl.program_id(0) * width + within
    held = (row < m)[:, None] & (within < width)[None, :]
    place = row.to(tl.int64)[:, None] * n + column[None, :]
    w = tl.load(weight + place, held, 0.0)
    s = tl.load(scale + column, within < width, 1.0)[None, :]
    x = w * s
    step, zero = from_bounds(tl.min(x, 1), tl.max(x, 1), q_max, middle, smallest, largest, CENTRED, NUMBER)
    steps, zeros = step[:, None], zero[:, None]
    full = tl.zeros((ROWS, COLUMNS), tl.float32)
    if EXACT:
        found = level(tl.div_rn(x, full + steps), zeros, q_max, NUMBER)
        value = tl.div_rn(steps * found, full + s)
    else:
        found = level(x * tl.div_rn(tl.full(step.shape, 1.0, tl.float32), step)[:, None], zeros, q_max, NUMBER)
        value = steps * found * tl.div_rn(tl.full(s.shape, 1.0, tl.float32), s)
    return w - value, place, held, row, column


@triton.jit
def _scaled_error(
    weight, scale, error, m, n, width, q_max, middle, smallest, largest,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CENTRED: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    found, place, held, _, _ = _error(
        weight, scale, m, n, width, q_max, middle, smallest, largest, ROWS, COLUMNS, CENTRED, NUMBER, True
    )
    tl.store(error + place, found, held)


@triton.jit
def _scaled_half(
    weight, scale, root, half, sums, m, n, width, q_max, middle, smallest, largest,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CENTRED: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    found, place, held, row, column = _error(
        weight, scale, m, n, width, q_max, middle, smallest, largest, ROWS, COLUMNS, CENTRED, NUMBER, False
    )
    r = tl.load(root + column, tl.arange(0, COLUMNS) < width, 0.0)
    found = tl.where(held, found * r[None, :], 0.0)
    tl.store(half + place, found.to(tl.float16), held)
    tl.store(sums + tl.program_id(0).to(tl.int64) * m + row, tl.sum(found * found, 1), row < m)


def launch(weight: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """Run the kernel of ``scaled_error`` on a float32 weight ``[m, n]``."""
    weight, error = weight.contiguous(), torch.empty_like(weight)
    programs, sizes, settings = shape(weight, grid)
    _scaled_error[programs](weight, scale.contiguous(), error, *sizes, **settings)
    return error


def launch_half(weight: Tensor, scale: Tensor, root: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Run the kernel of ``scaled_half`` on a float32 weight ``[m, n]``."""
    weight, half = weight.contiguous(), torch.empty_like(weight, dtype=torch.float16)
    programs, sizes, settings = shape(weight, grid)
    sums = weight.new_empty(programs[0], len(weight))
    _scaled_half[programs](weight, scale.contiguous(), root.contiguous(), half, sums, *sizes, **settings)
    return half, sums.sum(0)


def shape(weight: Tensor, grid: Grid) -> tuple[tuple[int, int], tuple[float, ...], dict[str, int | bool]]:
    """Programs by groups and rows, and what both kernels are told of the weight and the grid."""
    (m, n), width = weight.shape, grid.width(weight.shape[1])
    columns = triton.next_power_of_2(width)
    rows = max(1, ELEMENTS // columns)
    settings = {"ROWS": rows, "COLUMNS": columns, "CENTRED": grid.centred, "NUMBER": number(grid)}
    return (n // width, triton.cdiv(m, rows)), (m, n, width, *constants(grid)), settings
