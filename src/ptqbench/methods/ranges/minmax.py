"""The full range of each row or group."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ptqbench.methods.contracts import Range
from ptqbench.numbers.grid import Grid


@dataclass(frozen=True)
class Minmax(Range):
    """The smallest and the largest weight."""

    def bounds(self, weight: Tensor, grid: Grid, hessian: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``; the Hessian's blocks are not read."""
        return weight.amin(-1), weight.amax(-1)
