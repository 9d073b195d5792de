"""Sums over the rows of ``[tokens, n]``, column by column, for CUDA tensors: one reading of the input.

The twins are what ``statistics/magnitude.py`` and ``statistics/moments.py`` do elsewhere. Rows are summed in float64,
in slices of which each program takes one, so that results do not depend on the order of execution.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS, SLICES = 8, 128, 64


@triton.jit
def _magnitudes(x, sums, largest, tokens, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.arange(0, ROWS)
    per_slice = tl.cdiv(tokens, tl.num_programs(1))
    first = tl.program_id(1) * per_slice
    last = tl.minimum(first + per_slice, tokens)
    total = tl.zeros((ROWS, COLUMNS), tl.float64)
    top = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(first, last, ROWS):
        token = start + rows
        inside = (token < last)[:, None] & (columns < n)[None, :]
        size = tl.abs(tl.load(x + token.to(tl.int64)[:, None] * n + columns[None, :], inside, 0.0).to(tl.float32))
        total += size.to(tl.float64)
        top = tl.maximum(top, size)
    place = tl.program_id(1) * n + columns
    tl.store(sums + place, tl.sum(total, 0), columns < n)
    tl.store(largest + place, tl.max(top, 0), columns < n)


@triton.jit
def _powers(x, sums, tokens, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.arange(0, ROWS)
    per_slice = tl.cdiv(tokens, tl.num_programs(1))
    first = tl.program_id(1) * per_slice
    last = tl.minimum(first + per_slice, tokens)
    one = tl.zeros((ROWS, COLUMNS), tl.float64)
    two = tl.zeros((ROWS, COLUMNS), tl.float64)
    three = tl.zeros((ROWS, COLUMNS), tl.float64)
    four = tl.zeros((ROWS, COLUMNS), tl.float64)
    for start in range(first, last, ROWS):
        token = start + rows
        inside = (token < last)[:, None] & (columns < n)[None, :]
        value = tl.load(x + token.to(tl.int64)[:, None] * n + columns[None, :], inside, 0.0).to(tl.float64)
        square = value * value
        one += value
        two += square
        three += square * value
        four += square * square
    place = tl.program_id(1) * n + columns
    step = tl.num_programs(1) * n
    tl.store(sums + place, tl.sum(one, 0), columns < n)
    tl.store(sums + step + place, tl.sum(two, 0), columns < n)
    tl.store(sums + 2 * step + place, tl.sum(three, 0), columns < n)
    tl.store(sums + 3 * step + place, tl.sum(four, 0), columns < n)


def magnitudes(x: Tensor) -> tuple[Tensor, Tensor]:
    """``Σ |x|`` (float64) and ``max |x|`` (float32) of each column of ``[tokens, n]``, ``[n]``."""
    x, (tokens, n) = x.contiguous(), x.shape
    sums = torch.empty(SLICES, n, dtype=torch.float64, device=x.device)
    largest = torch.empty(SLICES, n, device=x.device)
    _magnitudes[(triton.cdiv(n, COLUMNS), SLICES)](x, sums, largest, tokens, n, ROWS, COLUMNS)
    return sums.sum(0), largest.amax(0)


def powers(x: Tensor) -> Tensor:
    """The sums of the first four powers of each column of ``[tokens, n]``, float64 ``[4, n]``."""
    x, (tokens, n) = x.contiguous(), x.shape
    sums = torch.empty(4, SLICES, n, dtype=torch.float64, device=x.device)
    _powers[(triton.cdiv(n, COLUMNS), SLICES)](x, sums, tokens, n, ROWS, COLUMNS)
    return sums.sum(1)
