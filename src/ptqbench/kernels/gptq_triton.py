"""The Triton kernel of :mod:`ptqbench.kernels.gptq`: a program holds a block of columns of a few rows in registers."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ptqbench.kernels.gptq import Block
from ptqbench.quantize.grid import Grid

ROWS, WARPS = 16, 1  # one warp holds all of a row: no barrier in the loop


@triton.jit
def _encode(value, scale, zero, q_max, HALF: tl.constexpr):
    """Codes as ``Grid.encode``."""
    return _codes(tl.div_rn(value, scale), zero, q_max, HALF)


@triton.jit
def _codes(steps, zero, q_max, HALF: tl.constexpr):
    """As ``Grid.codes``."""
    return tl.minimum(tl.maximum(_free(steps, zero, HALF), 0.0), q_max)


@triton.jit
def _free(steps, zero, HALF: tl.constexpr):
    """Codes not yet clamped: to nearest, ties to even (adding 1.5 · 2²³ rounds so; the clamp keeps that exact)."""
    if HALF:
        steps += 0.5
        zero -= 0.5
    steps = tl.minimum(tl.maximum(steps, -65536.0), 65536.0)
    return (steps + 12582912.0) - 12582912.0 + zero


@triton.jit
def _round_block(
    target, weight, linear, pivots, scale, zero, codes, delta, energy, m, stride, q_max,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < m
    column = tl.arange(0, BLOCK)
    held = (column < WIDTH)[:, None] & inside[None, :]
    tile = tl.load(target + column[:, None] * m + row[None, :], held, 0.0)
    lost = tl.load(energy + row, inside, 0.0)
    # what the next step needs is read one step ahead
    s = tl.load(scale + row, inside, 1.0)
    z = tl.load(zero + row, inside, 0.0)
    w = tl.load(weight + row, inside, 0.0)
    feed = tl.load(linear + column, (column > 0) & (column < WIDTH), 0.0)
    pivot = tl.load(pivots)
    for j in range(WIDTH):
        after = tl.minimum(j + 1, WIDTH - 1)
        next_s = tl.load(scale + after * m + row, inside, 1.0)
        next_z = tl.load(zero + after * m + row, inside, 0.0)
        next_w = tl.load(weight + after * m + row, inside, 0.0)
        next_feed = tl.load(linear + after * stride + column, (column > after) & (column < WIDTH), 0.0)
        next_pivot = tl.load(pivots + after)
        wanted = tl.sum(tl.where((column == j)[:, None], tile, 0.0), 0)
        code = _encode(wanted, s, z, q_max, HALF)
        value = s * (code - z)
        missed = wanted - value
        lost += missed * missed * pivot
        off = w - value
        tl.store(codes + j * m + row, code.to(tl.int32).to(tl.uint8), inside)
        tl.store(delta + j * m + row, off, inside)
        tile += feed[:, None] * off[None, :]
        s, z, w, feed, pivot = next_s, next_z, next_w, next_feed, next_pivot
    tl.store(energy + row, lost, inside)


def launch(
    block: Block, grid: Grid, codes: Tensor, delta: Tensor, energy: Tensor, rows: int = ROWS, warps: int = WARPS
) -> None:
    """Run the kernel on float32 tensors whose rows are contiguous; ``linear`` may be a view of a larger matrix."""
    width, m = block.target.shape
    _round_block[(triton.cdiv(m, rows),)](
        *block, codes, delta, energy, m, block.linear.stride(0), float(grid.q_max),
        WIDTH=width, BLOCK=triton.next_power_of_2(width), ROWS=rows, HALF=grid.half_integer, num_warps=warps,
    )  # fmt: skip
