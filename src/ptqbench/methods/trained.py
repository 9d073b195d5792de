"""What is learned of a block before its sites are rounded, and where training starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ptqbench.methods.problem import Bounds, diagonal_blocks
from ptqbench.numbers.grid import Grid

Ends = dict[str, tuple[Tensor, Tensor]]  # linear to (low, high), [m, groups]


@dataclass
class Trained:
    """What was learned of a block: bounds ``[m, groups]`` and, for learned rounding, offsets ``[m, n]``, by linear."""

    bounds: Ends
    offset: dict[str, Tensor] | None = None
    record: dict[str, Any] = field(default_factory=dict)


def full_range(weight: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Smallest and largest weight of every row or group, 0 included, ``[m, groups]``."""
    groups = grid.grouped(weight)
    return groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)


def range_ends(weight: Tensor, grid: Grid, bounds: Bounds, hessian: Tensor) -> tuple[Tensor, Tensor]:
    """A range member's choice for every row or group, 0 included: ``low <= 0 <= high``, ``[m, groups]``."""
    blocks = diagonal_blocks(hessian, grid.width(weight.shape[1]))
    low, high = bounds(grid.grouped(weight), grid, blocks)
    return low.clamp(max=0), high.clamp(min=0)
