"""The arithmetic of :class:`ptqbench.numbers.grid.Grid`, and of its floats, in Triton, for the kernels to call.

``NUMBER`` is what :func:`number` says of a grid, known when a kernel is compiled. A level is a value in units of the
scale, zero-point subtracted: what a code stands for.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ptqbench.numbers.floats import SMALLEST, FloatGrid
from ptqbench.numbers.grid import LARGEST_SCALE, SMALLEST_SCALE, Grid

WHOLE, HALF, FLOAT = 0, 1, 16  # integers, half-integers; floats add their bits, lowest exponent and mantissa
SCALES = {"float32": 1, "four bits": 2, "powers": 3}  # how scales are stored; of integers as bfloat16
UNIT, BITS, STORED = 8, 64, 1024  # what each part of a float's number is multiplied by


def number(grid: Grid) -> int:
    """What kernels are compiled for: the kind of number, and how its scales are stored."""
    if not isinstance(grid, FloatGrid):
        return HALF if grid.half_integer else WHOLE
    element = grid.ELEMENT
    found = FLOAT + element.mantissa - UNIT * element.lowest + BITS * element.bits
    return found + STORED * SCALES[grid.SCALES]


def constants(grid: Grid) -> tuple[float, float, float, float]:
    """What kernels are told of a grid: its largest code (of floats, twice the reach), centre, and limits of scales."""
    if isinstance(grid, FloatGrid):
        return 2 * grid.reach, 0.0, SMALLEST, 1 / SMALLEST
    return float(grid.q_max), grid.centre, SMALLEST_SCALE, LARGEST_SCALE


@triton.jit
def quantized(value, scale, zero, q_max, NUMBER: tl.constexpr):
    """The levels of the nearest codes, as ``Grid.encode``."""
    return level(tl.div_rn(value, scale), zero, q_max, NUMBER)


@triton.jit
def level(steps, zero, q_max, NUMBER: tl.constexpr):
    """The nearest level of values in units of the scale."""
    if NUMBER >= 16:
        return element(held(steps, NUMBER), NUMBER)
    return tl.minimum(tl.maximum(unclamped(steps, zero, NUMBER), 0.0), q_max) - zero


@triton.jit
def unclamped(steps, zero, NUMBER: tl.constexpr):
    """Codes not yet clamped: to nearest, ties to even (adding 1.5 · 2²³ rounds so; the clamp keeps that exact)."""
    if NUMBER == 1:
        steps += 0.5
        zero -= 0.5
    steps = tl.minimum(tl.maximum(steps, -65536.0), 65536.0)
    return (steps + 12582912.0) - 12582912.0 + zero


@triton.jit
def held(steps, NUMBER: tl.constexpr):
    """Floats clamped to the largest element."""
    bits: tl.constexpr = ((NUMBER - 16) % 1024) // 64
    mantissa: tl.constexpr = (NUMBER - 16) % 8
    if bits == 8:
        largest = 448.0
    elif bits == 4:
        largest = 6.0
    elif mantissa == 3:
        largest = 7.5
    else:
        largest = 28.0
    return tl.minimum(tl.maximum(steps, -largest), largest)


@triton.jit
def exponent(x, NUMBER: tl.constexpr):
    """As ``Element.exponent``."""
    lowest: tl.constexpr = -(((NUMBER - 16) % 64) // 8)
    return tl.maximum(((x.to(tl.int32, bitcast=True) >> 23) & 255) - 127, lowest)


@triton.jit
def power(exponent):
    """``2^exponent``."""
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def unit(x, NUMBER: tl.constexpr):
    """As ``Element.unit``."""
    mantissa: tl.constexpr = (NUMBER - 16) % 8
    return power(exponent(x, NUMBER) - mantissa)


@triton.jit
def element(x, NUMBER: tl.constexpr):
    """As ``Element.nearest``, of what is :func:`held`."""
    mantissa: tl.constexpr = (NUMBER - 16) % 8
    at = exponent(x, NUMBER)
    return (x * power(mantissa - at) + 12582912.0 - 12582912.0) * power(at - mantissa)


@triton.jit
def code(level, zero, NUMBER: tl.constexpr):
    """The code of a level, int32."""
    if NUMBER < 16:
        return (level + zero).to(tl.int32)
    mantissa: tl.constexpr = (NUMBER - 16) % 8
    lowest: tl.constexpr = -(((NUMBER - 16) % 64) // 8)
    bits: tl.constexpr = ((NUMBER - 16) % 1024) // 64
    size = tl.abs(level)
    at = exponent(size, NUMBER)
    magnitude = (size * power(mantissa - at)).to(tl.int32) + ((at - lowest) << mantissa)
    return magnitude + tl.where(level < 0, 1 << (bits - 1), 0)


@triton.jit
def stored(step, smallest, largest, NUMBER: tl.constexpr):
    """As ``Grid.stored``, for positive numbers: to the nearest of so many bits, ties to even; or the next power, up."""
    bits = tl.minimum(tl.maximum(step, 1e-37), 1e37).to(tl.int32, bitcast=True)
    how: tl.constexpr = (NUMBER - 16) // 1024 if NUMBER >= 16 else 0
    if how == 0:
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
    elif how == 2:
        bits = (bits + 0x7FFFF + ((bits >> 20) & 1)) & -1048576
    elif how == 3:
        bits = (bits + 0x7FFFFF) & -8388608
    return tl.minimum(tl.maximum(bits.to(tl.float32, bitcast=True), smallest), largest)


@triton.jit
def from_bounds(low, high, q_max, middle, smallest, largest, CENTRED: tl.constexpr, NUMBER: tl.constexpr):
    """Scale and zero as ``Grid.from_bounds``."""
    low, high = tl.minimum(low, 0.0), tl.maximum(high, 0.0)
    if NUMBER < 16:
        empty = low == high
        low, high = tl.where(empty, -1.0, low), tl.where(empty, 1.0, high)
    reach = tl.maximum(-low, high) * 2 if CENTRED else high - low
    step = stored(tl.div_rn(reach, tl.full(reach.shape, 1.0, tl.float32) * q_max), smallest, largest, NUMBER)
    if CENTRED:
        zero = tl.full(step.shape, 1.0, tl.float32) * middle
    else:
        zero = (tl.div_rn(-low, step) + 12582912.0) - 12582912.0
        zero = tl.minimum(tl.maximum(zero, 0.0), q_max)
    return step, zero
