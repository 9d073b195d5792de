"""AWQ's clipping (arXiv 2306.00978): the range of least output error, group by group.

The error of a group is ``δ H_gg δᵀ`` with its block of H, which the reference estimates on 512 tokens. Both ends are
drawn in on asymmetric grids; the reference clips symmetrically there, which ruins its 2-bit results. The reference
leaves q and k unclipped, because it ignores the groups' correlation; so does this one's loss, but all are clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ptqbench.kernels.clip import best_shrinks
from ptqbench.methods.contracts import Range, parameter
from ptqbench.numbers.grid import Grid


@dataclass(frozen=True)
class Search(Range):
    """The shrink of least output error, ``largest_shrink`` at most, in ``steps`` of the range."""

    steps: int = parameter(20, minimum=1, maximum=10000)
    largest_shrink: float = parameter(0.5, exclusiveMinimum=0, maximum=1)

    def bounds(self, weight: Tensor, grid: Grid, hessian: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``; ``hessian [groups, width, width]``."""
        assert hessian is not None
        shrinks = [1 - step / self.steps for step in range(max(1, round(self.largest_shrink * self.steps)))]
        kept = best_shrinks(weight, grid, hessian, shrinks)
        return weight.amin(-1) * kept, weight.amax(-1) * kept
