"""The Triton kernel of :mod:`ptqbench.kernels.feedback`: a program holds some columns of a few rows in registers."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ptqbench.kernels.feedback import Block
from ptqbench.numbers.grid import Grid
from ptqbench.numbers.grid_triton import code, constants, number, quantized

ROWS, WARPS = 32, 1  # one warp holds all of a row: no barrier in the loop
CHUNK = 16  # columns in registers; what earlier ones feed to them is one product


@triton.jit
def _round_block(
    target, weight, linear, pivots, scale, zero, groups, codes, delta, energy, m, down, across, q_max,
    WIDTH: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < m
    lost = tl.load(energy + row, inside, 0.0)
    for begin in range(0, WIDTH, CHUNK):
        column = begin + tl.arange(0, CHUNK)
        tile = tl.load(target + column[:, None] * m + row[None, :], (column < WIDTH)[:, None] & inside[None, :], 0.0)
        for before in range(0, begin, CHUNK):
            past = before + tl.arange(0, CHUNK)
            fed = tl.load(linear + past[None, :] * down + column[:, None] * across, (column < WIDTH)[:, None], 0.0)
            off = tl.load(delta + past[:, None] * m + row[None, :], inside[None, :], 0.0)
            tile = tl.dot(fed, off, tile, input_precision="ieee")
        # what the next step needs is read one step ahead
        group = tl.load(groups + begin) * m
        s, z = tl.load(scale + group + row, inside, 1.0), tl.load(zero + group + row, inside, 0.0)
        group = tl.load(groups + tl.minimum(begin + 1, WIDTH - 1)) * m
        w = tl.load(weight + begin * m + row, inside, 0.0)
        feed = tl.load(linear + begin * down + column * across, (column > begin) & (column < WIDTH), 0.0)
        pivot = tl.load(pivots + begin)
        for j in range(begin, tl.minimum(begin + CHUNK, WIDTH)):
            after = tl.minimum(j + 1, WIDTH - 1)
            next_s, next_z = tl.load(scale + group + row, inside, 1.0), tl.load(zero + group + row, inside, 0.0)
            group = tl.load(groups + tl.minimum(j + 2, WIDTH - 1)) * m
            next_w = tl.load(weight + after * m + row, inside, 0.0)
            next_feed = tl.load(linear + after * down + column * across, (column > after) & (column < WIDTH), 0.0)
            next_pivot = tl.load(pivots + after)
            wanted = tl.sum(tl.where((column == j)[:, None], tile, 0.0), 0)
            found = quantized(wanted, s, z, q_max, NUMBER)
            value = s * found
            missed = wanted - value
            lost += missed * missed * pivot
            off = w - value
            tl.store(codes + j * m + row, code(found, z, NUMBER).to(tl.uint8), inside)
            tl.store(delta + j * m + row, off, inside)
            tile += feed[:, None] * off[None, :]
            s, z, w, feed, pivot = next_s, next_z, next_w, next_feed, next_pivot
        tl.debug_barrier()  # what this chunk wrote to delta is read by other threads
    tl.store(energy + row, lost, inside)


def launch(
    block: Block,
    grid: Grid,
    codes: Tensor,
    delta: Tensor,
    energy: Tensor,
    rows: int = ROWS,
    warps: int = WARPS,
    chunk: int = CHUNK,
) -> None:
    """Run the kernel on float32 tensors whose rows are contiguous; ``linear`` may be any view."""
    width, m = block.target.shape
    _round_block[(triton.cdiv(m, rows),)](
        *block, codes, delta, energy, m, *block.linear.stride(), constants(grid)[0],
        WIDTH=width, CHUNK=chunk, ROWS=rows, NUMBER=number(grid), num_warps=warps,
    )  # fmt: skip
