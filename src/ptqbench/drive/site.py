"""Round the linears of one input site, and record what that cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.drive.records import Clock
from ptqbench.drive.traffic import traffic
from ptqbench.kernels.scaled import scaled_error
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.composition import Composition
from ptqbench.methods.problem import Problem, nearest
from ptqbench.methods.state import BlockState
from ptqbench.methods.trained import Start, Trained
from ptqbench.models.adapter import Site
from ptqbench.numbers.grid import Grid


@dataclass
class QuantizedBlock:
    """A block's quantized linears, the float tensors that transforms changed, and one record per linear.

    ``sound`` says of factorizations that were trusted whether they were.
    """

    linears: dict[str, QuantizedLinear] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    sound: list[Tensor] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether every factorization that was trusted is one; waits for the device."""
        return not self.sound or bool(torch.stack(self.sound).all())

    def sites(self) -> dict[str, list[QuantizedLinear]]:
        """The linears of each site."""
        found: dict[str, list[QuantizedLinear]] = {}
        for record in self.records:
            found.setdefault(record["site"], []).append(self.linears[record["linear"].partition(".")[2]])
        return found


@dataclass(frozen=True)
class Decided:
    """What was decided of a block before its sites are rounded: their bases, where training began, what it found."""

    bases: dict[str, SiteBasis]
    start: Start
    trained: Trained

    def problem(self, state: BlockState, site: Site, grid: Grid) -> Problem:
        """A site's, with the weights, ranges and offsets that are decided."""
        basis, statistics, trained = self.bases[site.name], state.statistics[site.name], self.trained
        low, high = (torch.cat([trained.bounds[linear][side] for linear in site.linears]) for side in (0, 1))
        return Problem(
            weight=torch.cat([self.start.weights[linear] for linear in site.linears]),
            hessian=basis.moment(statistics.hessian),
            grid=grid,
            bounds=None,
            fixed=(low, high),
            cross=None if statistics.cross is None else basis.moment(statistics.cross),
            offset=torch.cat([trained.offset[linear] for linear in site.linears]) if trained.offset else None,
        )


def quantize_site(
    state: BlockState,
    site: Site,
    composition: Composition,
    grid: Grid,
    result: QuantizedBlock,
    decided: Decided | None = None,
    trusted: bool = False,
) -> None:
    """Round the stacked linears of one site into ``result``; bases, ranges and offsets may be ``decided`` before.

    The numbers in the new records are still on the device: ``records.settle`` reads those of a whole block. An expert
    that no token came to is rounded to nearest, whatever the recipe's rounding.
    """
    if not site.linears:
        return
    clock = Clock(state.device)
    weights = {linear: state.weight(linear) for linear in site.linears}
    statistics = state.statistics[site.name]
    basis = decided.bases[site.name] if decided else composition.basis(state, site)
    problem = decided.problem(state, site, grid) if decided else composition.problem(state, site, basis, grid, trusted)
    rounded = composition.rounding.round_site(problem) if statistics.tokens else nearest(problem)
    result.sound += [] if rounded.sound is None else [rounded.sound]
    # a rotation of outputs moves loss between a linear's rows, and leaves their sum
    rows_count = not basis.trivial and any(linear in state.row_scale for linear in site.linears)
    taken = None if rows_count or composition.reshapes else rounded.losses
    sizes = [len(weight) for weight in weights.values()]
    codes, scale, zero = (part.split(sizes) for part in (rounded.codes, rounded.scale, rounded.zero))
    shared = grid.shared(rounded.scale)
    known = [None] * len(sizes) if taken is None else taken.split(sizes)
    signals = proxy_loss(torch.cat(list(weights.values())), statistics.hessian).split(sizes)
    for index, linear in enumerate(weights):
        quantized = basis.attach(linear, codes[index], scale[index], zero[index], grid, shared)
        result.linears[linear] = quantized
        result.records.append(
            {
                "linear": f"{state.index}.{linear}",
                "site": site.name,
                **losses(state, linear, site, quantized, signals[index], known[index]),
                **grid.at_limits(scale[index]),
                **(traffic(statistics) if site.routed else {}),
                **rounded.record,
            }
        )
    for record, size in zip(result.records[-len(sizes) :], sizes, strict=True):
        record["seconds"] = clock.lap(size / sum(sizes))


def losses(
    state: BlockState,
    linear: str,
    site: Site,
    quantized: QuantizedLinear,
    signal: Tensor,
    known: Tensor | None,
) -> dict[str, Tensor]:
    """Proxy loss in the original basis, signal-to-noise ratio in dB, and the loss of plain nearest rounding.

    ``signal [m]``: what each row's output is without the error; ``known [m]``: its proxy loss, where the rounding has
    taken it in this basis.
    """
    hessian = state.statistics[site.name].hessian
    found = proxy_loss(state.weight(linear) - quantized.dequantize(), hessian) if known is None else known
    rows = state.row_scale.get(linear)
    if rows is not None:
        found, signal = found * rows.square(), signal * rows.square()
    loss, power = found.sum(), signal.sum()
    snr = 10 * torch.log10(power.clamp(min=1e-30) / loss.clamp(min=1e-30))
    return {"proxy_loss": loss, "snr_db": snr, "nearest_proxy_loss": state.nearest_loss[linear]}


def nearest_losses(state: BlockState, sites: tuple[Site, ...], grid: Grid) -> dict[str, Tensor]:
    """Proxy loss of rounding each linear to nearest on its full range (integer zero), before any transform."""
    found: dict[str, Tensor] = {}
    grid = replace(grid, half_integer=False)
    for site in (site for site in sites if site.linears):
        weight, own = state.stacked(site), state.grids.get(site.name, grid)
        rows = proxy_loss(scaled_error(weight, torch.ones_like(weight[0]), own), state.statistics[site.name].hessian)
        parts = rows.split([len(state.weight(linear)) for linear in site.linears])
        found |= {linear: part.sum() for linear, part in zip(site.linears, parts, strict=True)}
    return found
