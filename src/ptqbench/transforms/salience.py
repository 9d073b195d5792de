"""AWQ's activation-aware scaling (arXiv 2306.00978, section 3.2), searched on the exact proxy loss.

The reference measures each candidate by running the block 20 times; ``tr(ΔW H ΔWᵀ)`` from cached statistics is the
same error of the site's linears, without a forward pass. Unlike the reference, identity is always a candidate, and
``v → o`` is scaled under grouped-query attention too, with one scale per key-value channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.quantize.fold import fold_scale, foldable
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.proxy import proxy_loss
from ptqbench.quantize.state import BlockState

STRATEGY = "salience"
DEFAULTS = {"steps": 20, "duo": True}
FLOOR = 1e-4


def apply(state: BlockState, grid: Grid, steps: int, duo: bool) -> list[dict[str, Any]]:
    """Scale every site of the block; one record per site: the exponent and the loss relative to no scaling."""
    chosen = [(site, *search(state, site, state.grids.get(site.name, grid), steps, duo)) for site in state.sites]
    for site, scale, _ in chosen:
        if scale is not None:
            fold_scale(state, site, scale)
    return [{"site": site.name, **record} for site, _, record in chosen]


def search(state: BlockState, site: Any, grid: Grid, steps: int, duo: bool) -> tuple[Tensor | None, dict[str, float]]:
    """The best scale ``[n]`` of a site, or None where none beats identity."""
    statistics = state.statistics[site.name]
    weight = state.stacked(site)
    salience = foldable(state, site, statistics.mean_abs)
    size = foldable(state, site, relative_size(weight, grid))
    identity = scaled_loss(weight, torch.ones_like(salience), statistics.hessian, grid)
    best, best_scale, best_ratio = identity, None, 0.0
    for step in range(steps + 1):
        ratio = step / steps
        scale = candidate(salience, size if duo else None, ratio)
        loss = scaled_loss(weight, scale, statistics.hessian, grid)
        if loss < best:
            best, best_scale, best_ratio = loss, scale, ratio
    return best_scale, {"ratio": best_ratio, "relative_loss": best / max(identity, 1e-30)}


def candidate(salience: Tensor, size: Tensor | None, ratio: float) -> Tensor:
    """``s = a^r`` (plain) or ``a^r / w̄^(1-r)`` (duo), normalized so that its extremes are reciprocal, ``[n]``."""
    scale = salience.pow(ratio)
    if size is not None:
        scale = scale / (size.pow(1 - ratio) + FLOOR)
    scale = scale.clamp(min=FLOOR)
    scale = scale / (scale.max() * scale.min()).sqrt()
    return torch.where(torch.isfinite(scale), scale, 1.0)


def relative_size(weight: Tensor, grid: Grid) -> Tensor:
    """Mean over rows of ``|w| / max |w| of its group``, ``[n]``."""
    size = grid.grouped(weight.abs())
    return (size / size.amax(-1, keepdim=True).clamp(min=1e-12)).flatten(1).mean(0)


def scaled_loss(weight: Tensor, scale: Tensor, hessian: Tensor, grid: Grid) -> float:
    """Proxy loss of rounding ``W diag(s)`` to nearest and undoing the scale."""
    scaled = grid.grouped(weight * scale)
    low, high = scaled.amin(-1), scaled.amax(-1)
    step, zero = (value.unsqueeze(-1) for value in grid.from_bounds(low, high))
    rounded = grid.decode(grid.encode(scaled, step, zero), step, zero).flatten(1) / scale
    return proxy_loss(weight - rounded, hessian).sum().item()
