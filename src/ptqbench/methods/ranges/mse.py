"""The range of least rounding error: both ends drawn in together (the search of GPTQ's and QuaRot's quantizers)."""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.numbers.grid import Grid

STRATEGY = None
DEFAULTS = {"steps": 100, "largest_shrink": 0.8, "norm": 2.4}
PARAMETERS = {
    "steps": {"type": "integer", "minimum": 1, "maximum": 10000},
    "largest_shrink": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "norm": {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
}


def bounds(
    weight: Tensor, grid: Grid, hessian: Tensor | None, steps: int, largest_shrink: float, norm: float
) -> tuple[Tensor, Tensor]:
    """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``: the shrink of least ``Σ |x̂ - x|^norm``."""
    low, high = weight.amin(-1), weight.amax(-1)
    best = torch.full_like(low, float("inf"))
    kept = torch.ones_like(low)
    for step in range(round(largest_shrink * steps)):
        shrink = 1 - step / steps
        scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(low * shrink, high * shrink))
        error = (grid.decode(grid.encode(weight, scale, zero), scale, zero) - weight).abs().pow(norm).sum(-1)
        better = error < best
        best, kept = torch.where(better, error, best), torch.where(better, shrink, kept)
    return low * kept, high * kept
