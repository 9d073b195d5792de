"""The axes of the page's figures: bytes on a logarithm, losses linear near none and logarithmic beyond."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

SPACE = 24  # pixels between two ticks
STEPS = ((1,), (5,), (2,), (3,), (1.5, 7), (4, 6, 8), (1.2, 2.5))  # of a decade, those that are wanted first


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high``, drawn from ``start`` to ``end`` in pixels, evenly in ``bend`` of them."""

    low: float
    high: float
    start: float
    end: float
    bend: Callable[[float], float]

    def place(self, value: float) -> float:
        """Where a value stands, in pixels."""
        low, high = self.bend(self.low), self.bend(self.high)
        return self.start + (self.bend(value) - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: Iterable[float], space: float = SPACE) -> list[float]:
        """Those of ``wanted`` that lie on the axis, the first before the later, none nearer than ``space`` pixels."""
        kept: list[float] = []
        for value in wanted:
            if self.low <= value <= self.high and all(
                abs(self.place(value) - self.place(other)) >= space for other in kept
            ):
                kept.append(value)
        return sorted(kept)


def byte_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithm, with a margin at both ends, and never of no length."""
    low, high = math.log(min(values)), math.log(max(values))
    margin = max((high - low) / 12, 0.05)
    return Axis(math.exp(low - margin), math.exp(high + margin), start, end, math.log)


def loss_axis(values: Sequence[float], unit: float, start: float, end: float) -> Axis:
    """Linear up to about ``unit`` on either side of none, and logarithmic beyond (the inverse hyperbolic sine)."""
    low, high = (math.asinh(value / unit) for value in (min(0.0, *values), max(unit, *values)))
    margin = (high - low) / 20
    ends = (math.sinh(low - margin) * unit, math.sinh(high + margin) * unit)
    return Axis(*ends, start, end, lambda value: math.asinh(value / unit))


def round_numbers(low: float, high: float) -> list[float]:
    """Round positive numbers between two: powers of ten first, then their fives, and so on."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [step * 10.0**decade for steps in STEPS for step in steps for decade in decades]


def loss_numbers(axis: Axis, unit: float) -> list[float]:
    """None first, then round numbers from ``unit`` on, to both sides."""
    if axis.high <= unit:
        return [0.0]
    found = [value for value in round_numbers(unit, axis.high) if value >= unit]
    return [0.0, *found, *(-value for value in found)]
