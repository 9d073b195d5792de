"""The arithmetic of :class:`ptqbench.numbers.grid.Grid` in Triton, for the kernels to call."""

from __future__ import annotations

import triton
import triton.language as tl

from ptqbench.numbers.grid import LARGEST_SCALE, SMALLEST_SCALE, Grid


@triton.jit
def encode(value, scale, zero, q_max, HALF: tl.constexpr):
    """Codes as ``Grid.encode``."""
    return clamped(tl.div_rn(value, scale), zero, q_max, HALF)


@triton.jit
def clamped(steps, zero, q_max, HALF: tl.constexpr):
    """As ``Grid.codes``."""
    return tl.minimum(tl.maximum(unclamped(steps, zero, HALF), 0.0), q_max)


@triton.jit
def unclamped(steps, zero, HALF: tl.constexpr):
    """Codes not yet clamped: to nearest, ties to even (adding 1.5 · 2²³ rounds so; the clamp keeps that exact)."""
    if HALF:
        steps += 0.5
        zero -= 0.5
    steps = tl.minimum(tl.maximum(steps, -65536.0), 65536.0)
    return (steps + 12582912.0) - 12582912.0 + zero


@triton.jit
def stored(step, smallest, largest):
    """As ``grid.storage_scale``: to the nearest bfloat16, ties to even, then clamped; for positive numbers."""
    bits = step.to(tl.int32, bitcast=True)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
    return tl.minimum(tl.maximum(bits.to(tl.float32, bitcast=True), smallest), largest)


@triton.jit
def from_bounds(low, high, q_max, middle, smallest, largest, CENTRED: tl.constexpr):
    """Scale and zero as ``Grid.from_bounds``."""
    low, high = tl.minimum(low, 0.0), tl.maximum(high, 0.0)
    empty = low == high
    low, high = tl.where(empty, -1.0, low), tl.where(empty, 1.0, high)
    reach = tl.maximum(-low, high) * 2 if CENTRED else high - low
    step = stored(tl.div_rn(reach, tl.full(reach.shape, 1.0, tl.float32) * q_max), smallest, largest)
    if CENTRED:
        zero = tl.full(step.shape, 1.0, tl.float32) * middle
    else:
        zero = (tl.div_rn(-low, step) + 12582912.0) - 12582912.0
        zero = tl.minimum(tl.maximum(zero, 0.0), q_max)
    return step, zero


def constants(grid: Grid) -> tuple[float, float, float, float]:
    """What :func:`from_bounds` is told of a grid: its largest code, its centre and the limits of its scales."""
    return float(grid.q_max), grid.centre, SMALLEST_SCALE, LARGEST_SCALE
