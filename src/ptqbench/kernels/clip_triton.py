"""The Triton kernel of :mod:`ptqbench.kernels.clip`: a program holds one group of some rows and its block of H."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ptqbench.numbers.grid import Grid
from ptqbench.numbers.grid_triton import constants, from_bounds, number, quantized

ROWS = 64


@triton.jit
def _best_shrinks(
    weight, hessian, shrinks, kept, m, groups, q_max, middle, smallest, largest,
    COUNT: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, CENTRED: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    place = row.to(tl.int64) * groups + group
    w = tl.load(weight + place[:, None] * WIDTH + column[None, :], (row < m)[:, None], 0.0)
    h = tl.load(hessian + (group * WIDTH + column)[:, None] * WIDTH + column[None, :])
    low, high = tl.min(w, 1), tl.max(w, 1)
    best = tl.full((ROWS,), float("inf"), tl.float32)
    found = tl.full((ROWS,), 1.0, tl.float32)
    for index in range(COUNT):
        shrink = tl.load(shrinks + index)
        step, zero = from_bounds(low * shrink, high * shrink, q_max, middle, smallest, largest, CENTRED, NUMBER)
        steps, zeros = step[:, None], zero[:, None]
        delta = steps * quantized(w, tl.zeros((ROWS, WIDTH), tl.float32) + steps, zeros, q_max, NUMBER) - w
        error = tl.sum(tl.dot(delta, h, input_precision="tf32x3") * delta, 1)  # as accurate as float32
        better = error < best
        best, found = tl.where(better, error, best), tl.where(better, shrink, found)
    tl.store(kept + place, found, row < m)


def launch(weight: Tensor, grid: Grid, hessian: Tensor, shrinks: list[float]) -> Tensor:
    """Run the kernel on a float32 weight ``[m, groups, width]``."""
    m, groups, width = weight.shape
    kept = weight.new_empty(m, groups)
    _best_shrinks[groups, triton.cdiv(m, ROWS)](
        weight.contiguous(), hessian.contiguous(), torch.tensor(shrinks, device=weight.device), kept,
        m, groups, *constants(grid),
        COUNT=len(shrinks), ROWS=ROWS, WIDTH=width, CENTRED=grid.centred, NUMBER=number(grid),
        num_warps=8, num_stages=1,
    )  # fmt: skip
    return kept
