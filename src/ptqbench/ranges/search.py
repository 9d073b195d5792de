"""AWQ's clipping (arXiv 2306.00978): the range of least output error, group by group.

The error of a group is ``δ H_gg δᵀ`` with its block of H, which the reference estimates on 512 tokens. Both ends are
drawn in on asymmetric grids; the reference clips symmetrically there, which ruins its 2-bit results. The reference
leaves q and k unclipped, because it ignores the groups' correlation; so does this one's loss, but all are clipped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.quantize.grid import Grid

STRATEGY = None
DEFAULTS = {"steps": 20, "largest_shrink": 0.5}


def bounds(
    weight: Tensor, grid: Grid, hessian: Tensor | None, steps: int, largest_shrink: float
) -> tuple[Tensor, Tensor]:
    """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``; ``hessian [groups, width, width]``."""
    assert hessian is not None
    low, high = weight.amin(-1), weight.amax(-1)
    best = torch.full_like(low, float("inf"))
    kept = torch.ones_like(low)
    for step in range(round(largest_shrink * steps)):
        shrink = 1 - step / steps
        scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(low * shrink, high * shrink))
        delta = (grid.decode(grid.encode(weight, scale, zero), scale, zero) - weight).transpose(0, 1)
        error = ((delta @ hessian) * delta).sum(-1).T
        better = error < best
        best, kept = torch.where(better, error, best), torch.where(better, shrink, kept)
    return low * kept, high * kept
