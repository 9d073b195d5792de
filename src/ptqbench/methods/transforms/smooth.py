"""SmoothQuant's migration of activation outliers into weights (arXiv 2211.10438, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ptqbench.errors import UserError
from ptqbench.methods.contracts import BlockTransform, Facts, Record, parameter
from ptqbench.methods.fold import fold_scale
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import by_producer
from ptqbench.numbers.grid import Grid

FLOOR = 1e-5


@dataclass(frozen=True)
class Smooth(BlockTransform):
    """``alpha`` is the share of the migration that activations decide."""

    STRATEGY: ClassVar = "salience"
    NEEDS: ClassVar[Facts] = {"max_abs": {}, "model_weight": {}, "normed_inputs": {}}

    alpha: float = parameter(0.5, minimum=0, maximum=1)

    def apply(self, state: BlockState, grid: Grid) -> list[Record]:
        """``s = max|x|^α / max|w|^(1-α)`` at every site that a norm feeds, as published; the grid is not read.

        Experts share the scale of their norm: the maxima are over all tokens and all experts.
        Raises :class:`UserError` after a rotation, where no max |x| is left.
        """
        records = []
        for group in by_producer(state.sites):
            site = group[0]
            if site.producer is None or site.producer.kind != "norm":
                continue
            largest = state.statistics[site.name].max_abs
            if largest is None:
                raise UserError("transform: smooth after a rotation has no max|x| to read: put smooth first")
            weights = torch.cat([state.weight(linear) for member in group for linear in member.linears])
            size = weights.abs().amax(0).clamp(min=FLOOR)
            scale = (largest.pow(self.alpha) / size.pow(1 - self.alpha)).clamp(min=FLOOR)
            fold_scale(state, site, scale)
            records.append({"site": site.name, "largest_scale": scale.max()})
        return records
