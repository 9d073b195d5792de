"""The full range of each row or group."""

from __future__ import annotations

from torch import Tensor

from ptqbench.numbers.grid import Grid

STRATEGY = None
DEFAULTS: dict = {}
PARAMETERS: dict = {}


def bounds(weight: Tensor, grid: Grid, hessian: Tensor | None) -> tuple[Tensor, Tensor]:
    """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``; the Hessian's blocks are not read."""
    return weight.amin(-1), weight.amax(-1)
