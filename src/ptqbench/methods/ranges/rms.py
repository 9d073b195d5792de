"""QuIP's grid (arXiv 2307.13304, section 4): a multiple of the root mean square, for weights made incoherent.

``zero: half_integer`` is QuIP's own grid, symmetric around ``q_max / 2``, which no packed format holds;
``zero: integer`` is the same range on the packable grid, whose four levels at 2 bits are then lopsided.
QuIP takes ``reach: 2.4`` at every bit-width; unless told, it is here the one of least squared error on normal weights,
which incoherent ones resemble: 1.49 at 2 bits, 2.05 at 3, 2.51 at 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor

from ptqbench.methods.contracts import Facts, Range, parameter
from ptqbench.numbers.grid import Grid


@dataclass(frozen=True)
class Rms(Range):
    """``reach`` root mean squares either way; None: what suits the bit-width."""

    BREAKS: ClassVar[Facts] = {"plain_linears": {"zero": "half_integer"}}

    reach: float | None = parameter(None, exclusiveMinimum=0, maximum=100)
    zero: Literal["half_integer", "integer"] = parameter("half_integer")

    def bounds(self, weight: Tensor, grid: Grid, hessian: Tensor | None) -> tuple[Tensor, Tensor]:
        """``± reach · rms`` of each row or group over live columns (whose input was not always 0), ``[m, groups]``."""
        square = weight.square()
        power = square.mean(-1)
        if hessian is not None:
            live = hessian.diagonal(dim1=-2, dim2=-1) != 0
            power = (square * live).mean(-1) / (live.sum(-1).clamp(min=1) / live.shape[-1])
        size = (self.reach or normal_reach(grid.levels)) * power.sqrt()
        return -size, size


@lru_cache
def normal_reach(levels: tuple[float, ...]) -> float:
    """The end of a range of least squared error on a standard normal; ``levels``: its values, if it ended at ±1."""
    low, high = 0.5, 6.0
    while high - low > 1e-6:  # the error has one minimum: keep the third that holds it
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if normal_error(left, levels) < normal_error(right, levels) else (left, high)
    return (low + high) / 2


def normal_error(reach: float, levels: tuple[float, ...]) -> float:
    """``E (x - x̂)²`` of a standard normal on ``levels`` times ``reach``."""
    levels = tuple(reach * level for level in levels)
    edges = [-math.inf, *((low + high) / 2 for low, high in pairwise(levels)), math.inf]
    return sum(_cell_error(*ends) for ends in zip(levels, edges, edges[1:], strict=False))


def _cell_error(level: float, low: float, high: float) -> float:
    """``∫ (x - level)² φ(x) dx`` over ``[low, high]``, from the normal's moments."""
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (low, high)]
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    edge = [0.0 if math.isinf(x) else x * p for x, p in zip((low, high), density, strict=True)]
    first, second = density[0] - density[1], mass + edge[0] - edge[1]
    return second - 2 * level * first + level * level * mass
