"""A cell whose blocks are calibrated behind the already quantized ones (true-sequential, as the papers do).

Streams run in the basis that a residual rotation chose: a transformed block on a rotated stream is the same function.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ptqbench.models.adapter import Site
from ptqbench.models.collect import watching
from ptqbench.models.skeleton import BlockInput, Skeleton, run_block
from ptqbench.quantize.basis import SiteBasis
from ptqbench.quantize.cell import Cell, changed_tensors
from ptqbench.quantize.learning import Ends, Learned, full_range, range_ends
from ptqbench.quantize.site import QuantizedBlock, member, module_of, quantize_site
from ptqbench.quantize.state import BlockState, SiteStatistics

STATISTICS = ("hessian", "magnitude")


class Streams:
    """Block inputs of the quantized model and of the float model, and the rotation that both are in."""

    def __init__(self, cell: Cell, skeleton: Skeleton, tokens: Tensor, batch_size: int) -> None:
        self.rotation: Tensor | None = None
        self.quantized = skeleton.inputs(tokens, batch_size)
        for prepared in cell.prepared:
            if "r1" in prepared.get("prepared", {}):
                self.rotation = prepared["prepared"]["r1"]
                for item in self.quantized:
                    item.hidden = turned(item.hidden, self.rotation)
        self.exact = [BlockInput(item.hidden, item.kwargs) for item in self.quantized]

    def unrotated(self) -> list[BlockInput]:
        """The quantized stream in the original basis."""
        if self.rotation is None:
            return self.quantized
        return [BlockInput(turned(item.hidden, self.rotation.T), item.kwargs) for item in self.quantized]


def turned(hidden: Tensor, matrix: Tensor) -> Tensor:
    """``hidden @ matrix`` in the stream's dtype."""
    return (hidden.float() @ matrix.float().to(hidden.device)).to(hidden.dtype)


class PropagatedCell(Cell):
    """A :class:`Cell` that fills each block's statistics behind the quantized prefix."""

    def propagated(self, skeleton: Skeleton, batch_size: int) -> Iterator[tuple[QuantizedBlock, list[dict[str, Any]]]]:
        """Quantize block after block, site after site, each seeing what was quantized before it."""
        assert self.tokens is not None
        streams = Streams(self, skeleton, self.tokens, batch_size)
        for index in range(self.n_blocks):
            original = self.checkpoint.block(index)
            block = skeleton.block(index, original)
            state = self.state(index, collect(block, self._sites(index), streams.unrotated()))
            records = self.transform(state)
            block = skeleton.block(index, state.tensors)
            exact = copy.deepcopy(block)
            targets = list(run_block(exact, streams.exact))
            learned, note = self._learn(block, state, streams, targets)
            records += note
            result = QuantizedBlock()
            for site in state.sites:
                self._refresh(state, site, block, exact, streams)
                quantize_site(state, site, self.recipe, self.grid, result, learned)
                for linear in site.linears:
                    parameter = block.get_parameter(f"{linear}.weight")
                    parameter.copy_(result.linears[linear].dequantize())
            for item, hidden in zip(streams.quantized, list(run_block(block, streams.quantized)), strict=True):
                item.hidden = hidden
            for item, hidden in zip(streams.exact, targets, strict=True):
                item.hidden = hidden
            skeleton.release(index)
            result.tensors = changed_tensors(state, original, result)
            yield result, records

    def _sites(self, index: int) -> tuple[Site, ...]:
        return self.checkpoint.adapter.sites(self.checkpoint.config, index)

    def _refresh(self, state: BlockState, site: Site, block: nn.Module, exact: nn.Module, streams: Streams) -> None:
        """Statistics of one site with the sites before it quantized; both streams where the rounding reads both."""
        state.statistics[site.name] = collect(block, (site,), streams.quantized)[site.name]
        if getattr(module_of("rounding", self.recipe["rounding"]), "BOTH_STREAMS", False):
            state.statistics[site.name].cross = cross_moment(block, exact, site, streams)

    def _learn(
        self, block: nn.Module, state: BlockState, streams: Streams, targets: list[Tensor]
    ) -> tuple[Learned | None, list[dict[str, Any]]]:
        """Ranges or roundings that are trained on the block's output."""
        for folder, stage in (("ranges", "range"), ("rounding", "rounding")):
            settings = self.recipe[stage]
            if hasattr(module_of(folder, settings), "learn"):
                learn = member(folder, settings, "learn")
                start = self._start(state, learns_range=stage == "range")
                learned: Learned = learn(block, state, streams.quantized, targets, self.grid, start)
                return learned, [{"block": state.index, stage: settings["name"], **learned.record}]
        return None, []

    def _start(self, state: BlockState, learns_range: bool) -> Ends:
        """Where learning starts: the full range for a learned range, the range member's choice for learned rounding."""
        bounds = None if learns_range else member("ranges", self.recipe["range"], "bounds")
        ends: Ends = {}
        for site in state.sites:
            basis = SiteBasis(state.channel_scale.get(site.name))
            hessian = basis.second_moment(state.statistics[site.name].hessian)
            for linear in site.linears:
                weight = basis.forward(linear, state.weight(linear))
                ends[linear] = (
                    range_ends(weight, self.grid, bounds, hessian) if bounds else full_range(weight, self.grid)
                )
        return ends


def collect(block: nn.Module, sites: tuple[Site, ...], inputs: list[BlockInput]) -> dict[str, SiteStatistics]:
    """One pass of ``inputs`` through the block: the statistics of ``sites``."""
    with watching(block, sites, STATISTICS) as accumulators:
        for _ in run_block(block, inputs):
            pass
    device = inputs[0].hidden.device
    return {
        name: SiteStatistics.from_tensors(found.finish(name), name, device, "quantized prefix")
        for name, found in accumulators.items()
    }


def cross_moment(block: nn.Module, exact: nn.Module, site: Site, streams: Streams) -> Tensor:
    """``(X̃ - X)ᵀX / tokens`` of a site, float32 ``[n, n]``: X̃ in the float model, X in the quantized one."""
    caught: list[Tensor] = []
    handles = [
        module.get_submodule(site.linears[0]).register_forward_pre_hook(
            lambda _, args: caught.append(args[0].flatten(0, -2).float())
        )
        for module in (exact, block)
    ]
    total: Tensor | None = None
    tokens = 0
    try:
        for reference, item in zip(streams.exact, streams.quantized, strict=True):
            for _ in run_block(exact, [reference]):
                pass
            for _ in run_block(block, [item]):
                pass
            wanted, seen = caught
            product = (wanted - seen).T @ seen
            total = product if total is None else total + product
            tokens += len(seen)
            caught.clear()
    finally:
        for handle in handles:
            handle.remove()
    assert total is not None
    return total / tokens
