"""What is learned of a block before its sites are rounded, and where training starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ptqbench.linalg.basis import Basis
from ptqbench.methods.problem import Problem, diagonal_blocks
from ptqbench.numbers.grid import Grid

Ends = dict[str, tuple[Tensor, Tensor]]  # linear to (low, high), [m, groups]


@dataclass(frozen=True)
class Start:
    """Where training begins, by linear: the weight to round ``[m, n]`` in its basis, that basis, its range's ends."""

    weights: dict[str, Tensor]
    bases: dict[str, Basis]
    ends: Ends


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


def range_ends(weight: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """What a problem's range chooses for some of its rows ``[m, n]``, 0 included: ``low <= 0 <= high [m, groups]``.

    Without a range member that is the full range.
    """
    grid = problem.grid
    if problem.bounds is None:
        return full_range(weight, grid)
    blocks = diagonal_blocks(problem.hessian, grid.width(weight.shape[1]))
    low, high = problem.bounds(grid.grouped(weight), grid, blocks)
    return low.clamp(max=0), high.clamp(min=0)
