"""The grid, one number at a time in Python's float64: written from the formulas, sharing nothing with the package."""

from __future__ import annotations

import struct

SMALLEST, LARGEST = 2.0**-14, 2.0**15


def bfloat16(x: float) -> float:
    """The nearest bfloat16 of the nearest float32, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    upper, lower = bits >> 16, bits & 0xFFFF
    if lower > 0x8000 or (lower == 0x8000 and upper % 2 == 1):
        upper += 1
    (rounded,) = struct.unpack("<f", struct.pack("<I", upper << 16))
    return float(rounded)


def fit(low: float, high: float, bits: int, symmetric: bool) -> tuple[float, int]:
    """Scale and zero-point of the grid that spans ``[low, high]`` and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = -1.0, 1.0
    steps = 2**bits - 1
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    scale = min(max(bfloat16((high - low) / steps), SMALLEST), LARGEST)
    if symmetric:
        return scale, 2 ** (bits - 1)
    return scale, min(max(round(-low / scale), 0), steps)


def encode(x: float, scale: float, zero: int, bits: int) -> int:
    """The nearest code; Python rounds half to even, as the grid does, before the zero-point is added."""
    return min(max(round(x / scale) + zero, 0), 2**bits - 1)


def quip_code(x: float, scale: float, bits: int) -> int:
    """QuIP's own quantizer (arXiv 2307.13304, algorithm 2) of a grid whose ends are ± scale (2^bits - 1) / 2."""
    steps = 2**bits - 1
    end = scale * steps / 2
    return min(max(round((x / end + 1) / 2 * steps), 0), steps)


def quip_value(code: int, scale: float, bits: int) -> float:
    """The value of one of its codes."""
    steps = 2**bits - 1
    return (2 * code / steps - 1) * scale * steps / 2


def decode(code: int, scale: float, zero: int) -> float:
    """The value of a code."""
    return scale * (code - zero)
