"""The Triton kernel of :mod:`ptqbench.linalg.halves`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ptqbench.linalg.halves import LIFT

ROWS, COLUMNS = 8, 512


@triton.jit
def _split(
    x, unit, high, low, m, n, x_down, x_across, unit_down, unit_across, down, across, lift,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(1) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
    inside = (row < m) & (column < n)
    value = tl.load(x + row * x_down + column * x_across, inside, 0.0)
    size = tl.load(unit + row * unit_down + column * unit_across, inside, 1.0)
    scaled = tl.div_rn(value, size)
    head = scaled.to(tl.float16)
    place = row * down + column * across
    tl.store(high + place, head, inside)
    tl.store(low + place, ((scaled - head.to(tl.float32)) * lift).to(tl.float16), inside)


def launch(x: Tensor, unit: Tensor, out: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Run the kernel on a float32 ``x [m, n]`` of any strides; both of ``out`` have the same ones."""
    if x.stride(1) > x.stride(0):  # neighbours in memory are read, and written, together
        turned = unit.expand_as(x).T
        high, low = launch(x.T, turned, None if out is None else (out[0].T, out[1].T))
        return high.T, low.T
    high, low = out or (x.new_empty(x.shape, dtype=torch.float16), x.new_empty(x.shape, dtype=torch.float16))
    (m, n), unit = x.shape, unit.expand_as(x)
    programs = (triton.cdiv(n, COLUMNS), triton.cdiv(m, ROWS))
    strides = (*x.stride(), *unit.stride(), *high.stride())
    _split[programs](x, unit, high, low, m, n, *strides, LIFT, ROWS=ROWS, COLUMNS=COLUMNS)
    return high, low
