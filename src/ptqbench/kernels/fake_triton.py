"""The Triton kernels of :mod:`ptqbench.kernels.fake`: a program holds a group of columns of a few rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ptqbench.numbers.grid import Grid
from ptqbench.numbers.grid_triton import constants, from_bounds, level, number, unclamped, unit
from ptqbench.numbers.grid_triton import held as clamped

ELEMENTS = 4096  # of a program
GROUPS = 1024  # of a program that makes scales and zeros


@triton.jit
def _place(m, n, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A program's rows, where its elements are, which of them are held, and where its groups' numbers are."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    within = tl.arange(0, COLUMNS)
    held = (row < m)[:, None] & (within < width)[None, :]
    place = row.to(tl.int64)[:, None] * n + tl.program_id(0) * width + within[None, :]
    return row, place, held, row.to(tl.int64) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def _quotient(w, s):
    """``w [rows, columns] / s [rows, 1]``, ties of a code exact, with one division a group instead of one a weight."""
    reciprocal = tl.div_rn(tl.full(s.shape, 1.0, tl.float32), s)
    first = w * reciprocal
    return tl.fma(tl.fma(-first, s + tl.zeros_like(w), w), reciprocal + tl.zeros_like(w), first)


@triton.jit
def _forward(
    weight, scale, zero, offset, value, m, n, width, q_max,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBER: tl.constexpr, OFFSET: tl.constexpr,
):  # fmt: skip
    row, place, held, group = _place(m, n, width, ROWS, COLUMNS)
    s = tl.load(scale + group, row < m, 1.0)[:, None]
    z = tl.load(zero + group, row < m, 0.0)[:, None]
    w = tl.load(weight + place, held, 0.0).to(tl.float32)
    steps = _quotient(w, s)
    if OFFSET:
        shift = tl.load(offset + place, held, 0.0)
        steps += shift * unit(steps, NUMBER) if NUMBER >= 16 else shift
    found = level(steps, z, q_max, NUMBER)
    tl.store(value + place, (s * found).to(value.dtype.element_ty), held)


@triton.jit
def _backward(
    gradient, weight, scale, zero, offset, of_scale, of_zero, of_offset, m, n, width, q_max,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBER: tl.constexpr, OFFSET: tl.constexpr,
):  # fmt: skip
    row, place, held, group = _place(m, n, width, ROWS, COLUMNS)
    s = tl.load(scale + group, row < m, 1.0)[:, None]
    z = tl.load(zero + group, row < m, 0.0)[:, None]
    w = tl.load(weight + place, held, 0.0).to(tl.float32)
    g = tl.load(gradient + place, held, 0.0).to(tl.float32)
    own = _quotient(w, s)
    steps = own
    if OFFSET:
        shift = tl.load(offset + place, held, 0.0)
        steps += shift * unit(steps, NUMBER) if NUMBER >= 16 else shift
    found = level(steps, z, q_max, NUMBER)
    free = steps == clamped(steps, NUMBER) if NUMBER >= 16 else found + z == unclamped(steps, z, NUMBER)
    kept = tl.where(free, g, 0.0)  # clamped codes pass nothing on
    tl.store(of_scale + group, tl.sum(g * found - kept * own, 1), row < m)
    tl.store(of_zero + group, tl.sum((kept - g) * s, 1), row < m)
    if OFFSET:
        tl.store(of_offset + place, kept * s * unit(own, NUMBER) if NUMBER >= 16 else kept * s, held)


@triton.jit
def _ends(
    low, high, scale, zero, groups, q_max, middle, smallest, largest,
    SIZE: tl.constexpr, CENTRED: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    held = group < groups
    a, b = tl.load(low + group, held, 0.0), tl.load(high + group, held, 0.0)
    step, centre = from_bounds(a, b, q_max, middle, smallest, largest, CENTRED, NUMBER)
    tl.store(scale + group, step, held)
    tl.store(zero + group, centre, held)


@triton.jit
def _ends_backward(
    of_scale, of_zero, low, high, scale, of_low, of_high, groups, q_max, SIZE: tl.constexpr, CENTRED: tl.constexpr
):  # fmt: skip
    group = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    held = group < groups
    a, b = tl.load(low + group, held, 0.0), tl.load(high + group, held, 0.0)
    g = tl.load(of_scale + group, held, 0.0)
    if CENTRED:  # the span is twice the larger end; of equal ones each has half
        share = tl.where(-a > b, 1.0, tl.where(-a == b, 0.5, 0.0))
        tl.store(of_low + group, -2 * share * g / q_max, held)
        tl.store(of_high + group, 2 * (1 - share) * g / q_max, held)
    else:  # zero is -low / scale, and scale (high - low) / q_max
        s = tl.load(scale + group, held, 1.0)
        of_middle = tl.load(of_zero + group, held, 0.0) / s
        g = (g + of_middle * (a / s)) / q_max
        tl.store(of_low + group, -g - of_middle, held)
        tl.store(of_high + group, g, held)


def launch(
    weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid, dtype: torch.dtype
) -> Tensor:
    """The values of a weight ``[m, n]``."""
    weight, value = weight.contiguous(), torch.empty_like(weight, dtype=dtype)
    programs, sizes, settings = shape(weight, grid, offset)
    _forward[programs](weight, scale.contiguous(), zero.contiguous(), offset, value, *sizes, **settings)
    return value


def launch_backward(
    gradient: Tensor, given: tuple[Tensor, Tensor, Tensor, Tensor | None], found: tuple[Tensor, Tensor], grid: Grid
) -> Tensor | None:
    """The gradient of the offset ``[m, n]``; those of scale and zero are written to ``found``.

    ``given`` is the forward's weight, scale, zero and offset.
    """
    weight, scale, zero, offset = given
    of_offset = None if offset is None else torch.empty_like(offset)
    programs, sizes, settings = shape(weight, grid, offset)
    tensors = (gradient.contiguous(), weight.contiguous(), scale.contiguous(), zero.contiguous(), offset)
    _backward[programs](*tensors, *found, of_offset, *sizes, **settings)
    return of_offset


def launch_grid(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scale and zero of float32 ends of any shape."""
    low, high = low.contiguous(), high.contiguous()
    scale, zero = torch.empty_like(low), torch.empty_like(low)
    sizes = (low.numel(), *constants(grid))
    _ends[(triton.cdiv(low.numel(), GROUPS),)](low, high, scale, zero, *sizes, GROUPS, grid.centred, number(grid))
    return scale, zero


def launch_grid_backward(
    of_scale: Tensor, of_zero: Tensor, low: Tensor, high: Tensor, scale: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """Gradients of both ends."""
    given = [tensor.contiguous() for tensor in (of_scale, of_zero, low, high, scale)]
    of_low, of_high = torch.empty_like(given[2]), torch.empty_like(given[3])
    programs = (triton.cdiv(low.numel(), GROUPS),)
    _ends_backward[programs](*given, of_low, of_high, low.numel(), constants(grid)[0], GROUPS, grid.centred)
    return of_low, of_high


def shape(
    weight: Tensor, grid: Grid, offset: Tensor | None
) -> tuple[tuple[int, int], tuple[float, ...], dict[str, int | bool]]:
    """Programs by groups and rows, and what both kernels are told."""
    (m, n), width = weight.shape, grid.width(weight.shape[1])
    columns = triton.next_power_of_2(width)
    rows = max(1, ELEMENTS // columns)
    settings = {"ROWS": rows, "COLUMNS": columns, "NUMBER": number(grid), "OFFSET": offset is not None}
    return (n // width, triton.cdiv(m, rows)), (m, n, width, constants(grid)[0]), settings
