"""The range of least rounding error: both ends drawn in together (the search of GPTQ's and QuaRot's quantizers)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptqbench.methods.contracts import Range, parameter
from ptqbench.numbers.grid import Grid


@dataclass(frozen=True)
class Mse(Range):
    """The shrink of least error; ``largest_shrink`` is how far at most, in ``steps`` of the range."""

    steps: int = parameter(100, minimum=1, maximum=10000)
    largest_shrink: float = parameter(0.8, exclusiveMinimum=0, maximum=1)
    norm: float = parameter(2.4, exclusiveMinimum=0, maximum=10)

    def bounds(self, weight: Tensor, grid: Grid, hessian: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``: the shrink of least ``Σ |x̂ - x|^norm``."""
        low, high = weight.amin(-1), weight.amax(-1)
        best = torch.full_like(low, float("inf"))
        kept = torch.ones_like(low)
        for step in range(round(self.largest_shrink * self.steps)):
            shrink = 1 - step / self.steps
            scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(low * shrink, high * shrink))
            error = (grid.rounded(weight, scale, zero) - weight).abs().pow(self.norm).sum(-1)
            better = error < best
            best, kept = torch.where(better, error, best), torch.where(better, shrink, kept)
        return low * kept, high * kept
