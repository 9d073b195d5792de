"""Experts see only the tokens routed to them: their Hessians, where those are few.

``H_e ← (N_e H_e + ν H̄) / (N_e + ν)`` shrinks an expert's Hessian to a prior that weighs as much as ``ν = n / 8`` tokens
of ``n`` channels: a tenth of H where the expert's own tokens just reach full rank, and below a damping of 1 % from
``12 n`` tokens on. Where all tokens read the same tensor (gate and up), ``H̄`` is theirs. The inputs of down projections
have no common channels, so that ``H̄`` is a multiple of the identity there: the mean power of all experts' channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ptqbench.fallback import Fallback
from ptqbench.methods.state import MOMENTS, SiteStatistics, check_finite
from ptqbench.models.adapter import Site

WEIGHT = 1 / 8  # of the prior, in tokens per channel

UNROUTED = Fallback("nearest", "no calibration token was routed to this expert")


def read_statistics(
    tensors: dict[str, Tensor], sites: Iterable[Site], device: torch.device, where: str
) -> dict[str, SiteStatistics]:
    """The statistics of ``sites`` from a file's tensors, those of experts shrunk; refused if not finite."""
    sites = tuple(sites)
    names = [f"{site.name}.{key}" for site in sites for key in MOMENTS]
    tensors |= {name: tensors[name].to(device) for name in names}
    check_finite({name: tensors[name] for name in names}, where)
    found = {site.name: SiteStatistics.from_tensors(tensors, site.name) for site in sites}
    power = mean_power([found[site.name] for site in sites if site.routed and not shares_input(site, sites)])
    for site in sites:
        if site.routed:
            own = found[site.name]
            prior = (
                found[site.routed].hessian
                if shares_input(site, sites)
                else power * torch.eye(len(own.hessian), device=device)
            )
            shrink(own, prior)
    return found


def shares_input(site: Site, sites: Iterable[Site]) -> bool:
    """Whether an expert's site reads rows of what the site of all tokens reads."""
    return any(base.name == site.routed and base.producer == site.producer for base in sites)


def mean_power(statistics: list[SiteStatistics]) -> Tensor | float:
    """Mean of x² over the channels and tokens of several sites."""
    tokens = sum(own.tokens for own in statistics)
    return sum(own.tokens * own.hessian.diagonal().mean() for own in statistics) / max(tokens, 1)


def shrink(own: SiteStatistics, prior: Tensor) -> None:
    """Mix ``prior [n, n]`` into an expert's H in place; ``own.prior`` is its share."""
    weight = WEIGHT * len(prior)
    own.prior = weight / (own.tokens + weight)
    own.hessian = (1 - own.prior) * own.hessian + own.prior * prior


def traffic(statistics: SiteStatistics) -> dict[str, Any]:
    """What the report says of an expert's linear: its tokens, and a fallback where they are too few or none."""
    found: dict[str, Any] = {"tokens": statistics.tokens, "prior": statistics.prior}
    if not statistics.tokens:
        found["fallback"] = UNROUTED.as_json()
    elif statistics.tokens < len(statistics.hessian):
        share = f"{statistics.prior:.0%} of H is the prior"
        few = f"{statistics.tokens} tokens for {len(statistics.hessian)} channels, {share}"
        found["fallback"] = Fallback("low traffic", few).as_json()
    return found
