"""One block on its way through a recipe: its weights, its sites' statistics, and the driver over its sites."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.models.adapter import Site
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.linear import QuantizedLinear
from ptqbench.quantize.problem import Problem, Rounded
from ptqbench.quantize.proxy import proxy_loss
from ptqbench.rounding import nearest
from ptqbench.statistics.hessian import from_triangle


@dataclass
class SiteStatistics:
    """What the statistics pass found at one input site of ``n`` channels (see ``ptqbench.statistics``)."""

    hessian: Tensor
    mean_abs: Tensor
    max_abs: Tensor
    tokens: int

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], site: str, device: torch.device, where: str) -> SiteStatistics:
        """Read one site of a statistics file; values that are not finite are refused by name."""
        found = {key: tensors[f"{site}.{key}"].to(device) for key in ("hessian", "mean_abs", "max_abs")}
        for key, tensor in found.items():
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(
                    f"{where}: {site}.{key} has values that are not finite: the float model overflowed there"
                )
        hessian = from_triangle(found["hessian"], len(found["mean_abs"]))
        return cls(hessian, found["mean_abs"], found["max_abs"], int(tensors[f"{site}.tokens"]))


@dataclass
class BlockState:
    """A block's float tensors (float32, block-relative names) and statistics, as transforms leave them."""

    index: int
    sites: tuple[Site, ...]
    tensors: dict[str, Tensor]
    statistics: dict[str, SiteStatistics]

    def weight(self, linear: str) -> Tensor:
        """The weight ``[m, n]`` of a linear."""
        return self.tensors[f"{linear}.weight"]


@dataclass
class QuantizedBlock:
    """A block's quantized linears, the float tensors that transforms changed, and one record per linear."""

    linears: dict[str, QuantizedLinear] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)


def quantize_block(state: BlockState, recipe: dict[str, Any], grid: Grid) -> QuantizedBlock:
    """Round every site of a block by the recipe."""
    result = QuantizedBlock()
    for site in state.sites:
        quantize_site(state, site, recipe, grid, result)
    return result


def quantize_site(state: BlockState, site: Site, recipe: dict[str, Any], grid: Grid, result: QuantizedBlock) -> None:
    """Round the stacked linears of one site; adds to ``result``."""
    begun = time.monotonic()
    hessian = state.statistics[site.name].hessian
    weight = torch.cat([state.weight(linear) for linear in site.linears])
    range_fit = member("ranges", recipe["range"], "bounds")
    problem = Problem(weight, hessian, grid, range_fit)
    rounded: Rounded = member("rounding", recipe["rounding"], "round_site")(problem)
    plain = nearest.round_site(Problem(weight, hessian, grid, member("ranges", {"name": "minmax"}, "bounds")))
    seconds = time.monotonic() - begun
    sizes = [len(state.weight(linear)) for linear in site.linears]
    for linear, start, size in zip(site.linears, starts(sizes), sizes, strict=True):
        rows = slice(start, start + size)
        quantized, reference = (_rows(result_of, rows, grid) for result_of in (rounded, plain))
        result.linears[linear] = quantized
        result.records.append(
            {
                "linear": f"{state.index}.{linear}",
                "site": site.name,
                **losses(weight[rows], quantized, reference, hessian),
                "seconds": seconds * size / sum(sizes),
                **rounded.record,
            }
        )


def losses(weight: Tensor, quantized: QuantizedLinear, reference: QuantizedLinear, hessian: Tensor) -> dict[str, float]:
    """Proxy loss of a linear, that of nearest rounding on the full range, and the signal-to-noise ratio in dB."""
    loss = proxy_loss(weight - quantized.dequantize(), hessian).sum()
    nearest_loss = proxy_loss(weight - reference.dequantize(), hessian).sum()
    signal = proxy_loss(weight, hessian).sum()
    snr = 10 * torch.log10(signal.clamp(min=1e-30) / loss.clamp(min=1e-30))
    return {"proxy_loss": loss.item(), "nearest_proxy_loss": nearest_loss.item(), "snr_db": snr.item()}


def member(folder: str, settings: dict[str, Any], function: str) -> Any:
    """A member's function with the recipe's parameters bound."""
    module = importlib.import_module(f"ptqbench.{folder}.{settings['name']}")
    return partial(getattr(module, function), **{key: value for key, value in settings.items() if key != "name"})


def starts(sizes: list[int]) -> list[int]:
    """Offsets of consecutive runs."""
    return [sum(sizes[:index]) for index in range(len(sizes))]


def _rows(rounded: Rounded, rows: slice, grid: Grid) -> QuantizedLinear:
    return QuantizedLinear(
        codes=rounded.codes[rows].to(torch.uint8),
        scale=rounded.scale[rows].float(),
        zero=rounded.zero[rows].to(torch.uint8),
        bits=grid.bits,
        symmetric=grid.symmetric,
    )
