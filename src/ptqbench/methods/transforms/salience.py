"""AWQ's activation-aware scaling (arXiv 2306.00978, section 3.2), searched on the exact proxy loss.

The reference measures each candidate by running the block 20 times; ``tr(ΔW H ΔWᵀ)`` from cached statistics is the
same error of the site's linears, without a forward pass. Unlike the reference, identity is always a candidate, and
``v → o`` is scaled under grouped-query attention too, with one scale per key-value channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ptqbench.kernels.scaled import scaled_error, scaled_half
from ptqbench.linalg.proxy import Correlations, correlated, correlations, proxy_loss, quick_error
from ptqbench.methods.contracts import BlockTransform, Facts, Record, parameter
from ptqbench.methods.fold import fold_scale, foldable
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site, by_producer
from ptqbench.numbers.grid import Grid

FLOOR = 1e-4
EQUAL = 2e-5  # losses that differ by no more, relative, are as good as each other
TINY = 1e-30


@dataclass(frozen=True)
class Salience(BlockTransform):
    """``steps`` of the exponent; ``duo`` divides by weights; ``channel_scale``: scale what folds nowhere too."""

    STRATEGY: ClassVar = "salience"
    NEEDS: ClassVar[Facts] = {"model_basis": {}, "model_weight": {}}
    BREAKS: ClassVar[Facts] = {"folded_scales": {"channel_scale": True}}

    steps: int = parameter(20, minimum=1, maximum=1000)
    duo: bool = parameter(True)
    channel_scale: bool = parameter(True)

    def apply(self, state: BlockState, grid: Grid) -> list[Record]:
        """Scale every site of the block; one record per scale: the exponent and the loss relative to no scaling.

        Without ``channel_scale``, sites whose inputs no producer can scale are left alone, as published AWQ leaves
        them.
        """
        groups = [group for group in by_producer(state.sites) if self.channel_scale or group[0].producer]
        chosen = [(group[0], *search(state, group, grid, self.steps, self.duo)) for group in groups]
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

    shared = [(part, part[1].tokens / max(statistics.tokens, 1)) for part in parts]
    scales = [torch.ones_like(salience)]
    scales += [candidate(salience, size if duo else None, step / steps) for step in range(steps + 1)]
    found = [part_losses(weight, scales, own.hessian, at) * share for (weight, own, at), share in shared]
    losses = torch.stack(found).sum(0).tolist()
    close = unsure(losses, max(quick_error(len(weight), own.hessian) for weight, own, _ in parts))
    if len(close) > 1:
        for index in close:
            exact = [scaled_loss(weight, scales[index], own.hessian, at) * share for (weight, own, at), share in shared]
            losses[index] = torch.stack(exact).sum().item()
    best = min(close, key=losses.__getitem__)  # the first of equals: identity
    record = {"ratio": max(best - 1, 0) / steps, "relative_loss": losses[best] / max(losses[0], 1e-30)}
    return scales[best] if best else None, record


def unsure(losses: list[float], error: float) -> list[int]:
    """Which of the candidates must be compared accurately, by their losses that are off by ``error``, relative.

    Those that may be better than the apparent best by more than ``EQUAL``; identity, the first, if it may be at all.
    """
    least = min(losses)
    reach = max(2 * error - EQUAL, 0.0)
    return [index for index, loss in enumerate(losses) if loss <= least * (1 + (2 * error if index == 0 else reach))]


def candidate(salience: Tensor, size: Tensor | None, ratio: float) -> Tensor:
    """``s = a^r`` (plain) or ``a^r / w̄^(1-r)`` (duo), normalized so that its extremes are reciprocal, ``[n]``.

    Channels whose input was always 0 have scale 1 and are not among the extremes; the floor is relative to the others'
    mean, since ``a`` is in the units of the activations.
    """
    live = salience != 0
    scale, mean = salience.pow(ratio), salience.sum() / live.sum().clamp(min=1)
    if size is not None:
        scale = scale / (size.pow(1 - ratio) + FLOOR)
    scale = torch.maximum(scale, FLOOR * mean.pow(ratio))
    infinity = float("inf")
    largest, smallest = scale.where(live, -infinity).max(), scale.where(live, infinity).min()
    scale = scale / (largest * smallest).sqrt()
    return torch.where(live & torch.isfinite(scale), scale, 1.0)


def relative_size(weight: Tensor, grid: Grid) -> Tensor:
    """Mean over rows of ``|w| / max |w| of its group``, ``[n]``."""
    size = grid.grouped(weight.abs())
    return (size / size.amax(-1, keepdim=True).clamp(min=1e-12)).flatten(1).mean(0)


def part_losses(weight: Tensor, scales: list[Tensor], hessian: Tensor, grid: Grid) -> Tensor:
    """Proxy loss of one site at every scale, ``[scales]``; on a GPU to ``quick_error``."""
    if weight.is_cuda:
        return quick_losses(weight, scales, correlations(hessian), grid)
    return torch.stack([scaled_loss(weight, scale, hessian, grid) for scale in scales])


def quick_losses(weight: Tensor, scales: list[Tensor], known: Correlations, grid: Grid) -> Tensor:
    """:func:`scaled_loss` at every scale, from errors in float16 only, in a unit that suits the width's errors."""
    largest = (weight * known.root).abs().amax().clamp(min=TINY)
    unit = largest / 2.0 ** min(max(grid.bits - 4, 0), 4)
    root, found = known.root / unit, []
    for scale in scales:
        half, own = scaled_half(weight, scale, root, grid)
        found.append((own.double() + correlated(half, known.above)).sum())
    return torch.stack(found) * unit.double().square()


def scaled_loss(weight: Tensor, scale: Tensor, hessian: Tensor, grid: Grid) -> Tensor:
    """Proxy loss of rounding ``W diag(s)`` to nearest and undoing the scale."""
    return proxy_loss(scaled_error(weight, scale, grid), hessian, exact=True).sum()
