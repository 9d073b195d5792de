"""AWQ's activation-aware scaling (arXiv 2306.00978, section 3.2), searched on the exact proxy loss.

The reference measures each candidate by running the block 20 times; ``tr(ΔW H ΔWᵀ)`` from cached statistics is the
same error of the site's linears, without a forward pass. Unlike the reference, identity is always a candidate, and
``v → o`` is scaled under grouped-query attention too, with one scale per key-value channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.kernels.scaled import scaled_error
from ptqbench.models.adapter import Site, by_producer
from ptqbench.quantize.fold import fold_scale, foldable
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.proxy import TF32_ERROR, proxy_loss
from ptqbench.quantize.state import BlockState

STRATEGY = "salience"
DEFAULTS = {"steps": 20, "duo": True, "channel_scale": True}
FLOOR = 1e-4


def apply(state: BlockState, grid: Grid, steps: int, duo: bool, channel_scale: bool) -> list[dict[str, Any]]:
    """Scale every site of the block; one record per scale: the exponent and the loss relative to no scaling.

    Without ``channel_scale``, sites whose inputs no producer can scale are left alone, as published AWQ leaves them.
    """
    groups = [group for group in by_producer(state.sites) if channel_scale or group[0].producer]
    chosen = [(group[0], *search(state, group, grid, steps, duo)) for group in groups]
    for site, scale, _ in chosen:
        if scale is not None:
            fold_scale(state, site, scale)
    return [{"site": site.name, **record} for site, _, record in chosen]


def search(
    state: BlockState, group: tuple[Site, ...], grid: Grid, steps: int, duo: bool
) -> tuple[Tensor | None, dict[str, float]]:
    """The best scale ``[n]`` of the sites that one producer feeds, or None where none beats identity.

    Where they are many (experts), the first sees all tokens and gives the salience; the loss is the error per token of
    all of them, each expert's in proportion to the tokens that it gets, on the grid of its own width.
    """
    site, statistics = group[0], state.statistics[group[0].name]
    parts = [
        (state.stacked(part), state.statistics[part.name], state.grids.get(part.name, grid))
        for part in group
        if part.linears
    ]
    salience = foldable(state, site, statistics.mean_abs)
    size = foldable(state, site, relative_size(torch.cat([weight for weight, _, _ in parts]), grid))

    def loss_of(scale: Tensor, exact: bool = False) -> Tensor:
        losses = [scaled_loss(weight, scale, own.hessian, at, exact) * own.tokens for weight, own, at in parts]
        return torch.stack(losses).sum() / max(statistics.tokens, 1)

    scales = [torch.ones_like(salience)]
    scales += [candidate(salience, size if duo else None, step / steps) for step in range(steps + 1)]
    losses = torch.stack([loss_of(scale) for scale in scales]).tolist()
    close = [index for index, loss in enumerate(losses) if loss <= min(losses) * (1 + 2 * TF32_ERROR)]
    if len(close) > 1:
        for index in close:
            losses[index] = loss_of(scales[index], exact=True).item()
    best = min(close, key=losses.__getitem__)  # the first of equals: identity
    record = {"ratio": max(best - 1, 0) / steps, "relative_loss": losses[best] / max(losses[0], 1e-30)}
    return scales[best] if best else None, record


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


def scaled_loss(weight: Tensor, scale: Tensor, hessian: Tensor, grid: Grid, exact: bool = False) -> Tensor:
    """Proxy loss of rounding ``W diag(s)`` to nearest and undoing the scale."""
    return proxy_loss(scaled_error(weight, scale, grid), hessian, exact).sum()
