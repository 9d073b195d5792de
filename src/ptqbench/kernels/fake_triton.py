"""The Triton kernels of :mod:`ptqbench.kernels.fake`: a program holds a group of columns of a few rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ptqbench.quantize.grid import Grid

ELEMENTS = 4096  # of a program


@triton.jit
def _place(m, n, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A program's rows, where its elements are, which of them are held, and where its groups' numbers are."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    within = tl.arange(0, COLUMNS)
    held = (row < m)[:, None] & (within < width)[None, :]
    place = row.to(tl.int64)[:, None] * n + tl.program_id(0) * width + within[None, :]
    return row, place, held, row.to(tl.int64) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def _codes(steps, zero, q_max, HALF: tl.constexpr):
    """Codes as ``Grid.codes`` before they are clamped: to nearest, ties to even (adding 1.5 · 2²³ rounds so)."""
    if HALF:
        steps += 0.5
        zero -= 0.5
    steps = tl.minimum(tl.maximum(steps, -65536.0), 65536.0)
    return (steps + 12582912.0) - 12582912.0 + zero


@triton.jit
def _forward(
    weight, scale, zero, offset, value, m, n, width, q_max,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, HALF: tl.constexpr, OFFSET: tl.constexpr,
):  # fmt: skip
    row, place, held, group = _place(m, n, width, ROWS, COLUMNS)
    s = tl.load(scale + group, row < m, 1.0)[:, None]
    z = tl.load(zero + group, row < m, 0.0)[:, None]
    w = tl.load(weight + place, held, 0.0)
    steps = tl.div_rn(w, tl.zeros((ROWS, COLUMNS), tl.float32) + s)
    if OFFSET:
        steps += tl.load(offset + place, held, 0.0)
    codes = tl.minimum(tl.maximum(_codes(steps, z, q_max, HALF), 0.0), q_max)
    tl.store(value + place, (s * (codes - z)).to(value.dtype.element_ty), held)


@triton.jit
def _backward(
    gradient, weight, scale, zero, offset, of_scale, of_zero, of_offset, m, n, width, q_max,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, HALF: tl.constexpr, OFFSET: tl.constexpr,
):  # fmt: skip
    row, place, held, group = _place(m, n, width, ROWS, COLUMNS)
    s = tl.load(scale + group, row < m, 1.0)[:, None]
    z = tl.load(zero + group, row < m, 0.0)[:, None]
    w = tl.load(weight + place, held, 0.0)
    g = tl.load(gradient + place, held, 0.0).to(tl.float32)
    own = tl.div_rn(w, tl.zeros((ROWS, COLUMNS), tl.float32) + s)
    steps = own
    if OFFSET:
        steps += tl.load(offset + place, held, 0.0)
    free = _codes(steps, z, q_max, HALF)
    codes = tl.minimum(tl.maximum(free, 0.0), q_max)
    kept = tl.where(codes == free, g, 0.0)  # clamped codes pass nothing on
    tl.store(of_scale + group, tl.sum(g * (codes - z) - kept * own, 1), row < m)
    tl.store(of_zero + group, tl.sum((kept - g) * s, 1), row < m)
    if OFFSET:
        tl.store(of_offset + place, kept * s, held)


def launch(
    weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid, dtype: torch.dtype
) -> Tensor:
    """The values of a float32 weight ``[m, n]``."""
    weight, value = weight.contiguous(), torch.empty_like(weight, dtype=dtype)
    programs, sizes, constants = shape(weight, grid, offset)
    _forward[programs](weight, scale.contiguous(), zero.contiguous(), offset, value, *sizes, **constants)
    return value


def launch_backward(
    gradient: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of scale and zero ``[m, groups]`` and of the offset ``[m, n]``."""
    scale, zero = scale.contiguous(), zero.contiguous()
    of_scale, of_zero = torch.empty_like(scale), torch.empty_like(zero)
    of_offset = None if offset is None else torch.empty_like(offset)
    programs, sizes, constants = shape(weight, grid, offset)
    _backward[programs](
        gradient.contiguous(),
        weight.contiguous(),
        scale,
        zero,
        offset,
        of_scale,
        of_zero,
        of_offset,
        *sizes,
        **constants,
    )
    return of_scale, of_zero, of_offset


def shape(
    weight: Tensor, grid: Grid, offset: Tensor | None
) -> tuple[tuple[int, int], tuple[float, ...], dict[str, int | bool]]:
    """Programs by groups and rows, and what both kernels are told."""
    (m, n), width = weight.shape, grid.width(weight.shape[1])
    columns = triton.next_power_of_2(width)
    rows = max(1, ELEMENTS // columns)
    constants = {"ROWS": rows, "COLUMNS": columns, "HALF": grid.half_integer, "OFFSET": offset is not None}
    return (n // width, triton.cdiv(m, rows)), (m, n, width, float(grid.q_max)), constants
