"""The statistics pass over one block: what each site's linears read feeds the accumulators."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from ptqbench.models.adapter import Site
from ptqbench.models.experts import runtime, slice_of, weight_view
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import BlockInput, advance, resident
from ptqbench.pipeline import brought

ON_DEVICE = 16 << 30  # bytes of accumulators that a block's sites may hold on the device

BlockTensors = dict[str, Tensor]
Show = Callable[[str, Tensor], None]  # (site, inputs […, n])


class SiteAccumulator:
    """Every accumulator of one input site of ``n`` channels; ``at_rest`` is where they are between updates."""

    def __init__(self, statistics: Sequence[str], n: int, device: torch.device, at_rest: torch.device) -> None:
        self.modules = [importlib.import_module(f"ptqbench.statistics.{name}") for name in statistics]
        self.device, self.at_rest = device, at_rest
        self.states = [self._to(module.start(n, device), at_rest) for module in self.modules]
        self.tokens = 0

    def update(self, x: Tensor) -> None:
        """Add inputs ``[…, n]``."""
        rows = x.flatten(0, -2)
        for index, module in enumerate(self.modules):
            state = self._to(self.states[index], self.device)
            module.update(state, rows)
            self.states[index] = self._to(state, self.at_rest)
        self.tokens += len(rows)

    def finish(self, prefix: str) -> dict[str, Tensor]:
        """Tensors ``<site>.<statistic>`` and ``<site>.tokens``, on the device; the sums are consumed."""
        found: dict[str, Tensor] = {"tokens": torch.tensor(self.tokens)}
        for module, state in zip(self.modules, self.states, strict=True):
            found |= module.finish(state, self.tokens)
            state.clear()
        return {f"{prefix}.{name}": tensor for name, tensor in found.items()}

    @staticmethod
    def _to(state: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        return {name: tensor.to(device) for name, tensor in state.items()}


@contextmanager
def watching(
    block: nn.Module, sites: Sequence[Site], statistics: Sequence[str]
) -> Iterator[dict[str, SiteAccumulator]]:
    """Accumulate the inputs of each site while the context is open; on the CPU where the device could not hold all."""
    weights = {site.name: weight_view(block, (*site.linears, *site.readers)[0]) for site in sites}
    size = sum(4 * weight.shape[1] ** 2 for weight in weights.values())
    accumulators = {
        name: SiteAccumulator(
            statistics, weight.shape[1], weight.device, weight.device if size <= ON_DEVICE else torch.device("cpu")
        )
        for name, weight in weights.items()
    }
    with showing(block, sites, lambda name, x: accumulators[name].update(x)):
        yield accumulators


class _Reached(Exception):
    """The site's input was seen; the rest of the block's forward pass is not wanted."""


@torch.no_grad()
def collect_stage(
    block: nn.Module, sites: Sequence[Site], inputs: list[BlockInput], statistics: Sequence[str]
) -> BlockTensors:
    """The statistics of sites that are computed side by side; one alone ends the pass where its input is known."""

    def stop(module: nn.Module, args: Any) -> None:
        raise _Reached

    with watching(block, sites, statistics) as accumulators, ExitStack() as stack:
        reader = (*sites[0].linears, *sites[0].readers)[0]
        if len(sites) == 1 and slice_of(reader) is None:
            stack.callback(block.get_submodule(runtime(reader)).register_forward_pre_hook(stop).remove)
        for item in resident(inputs, next(block.parameters()).device):
            with suppress(_Reached):
                item.through(block)
    return {key: value for name, site in accumulators.items() for key, value in site.finish(name).items()}


def collect_blocks(
    skeleton: Skeleton, inputs: list[BlockInput], statistics: Sequence[str], span: range | None = None
) -> Iterator[tuple[BlockTensors, BlockTensors]]:
    """One full-precision pass: each block's tensors and the statistics of its sites, both on the device.

    ``inputs`` are those of the first block of the ``span`` (all blocks, unless given) and move on with the blocks; the
    next block's weights are read while this one computes.
    """
    checkpoint = skeleton.checkpoint
    span = range(checkpoint.n_blocks) if span is None else span
    blocks = brought(checkpoint.block, span, skeleton.device)
    for index, tensors in zip(span, blocks, strict=True):
        block = skeleton.block(index, tensors)
        with watching(block, checkpoint.adapter.sites(checkpoint.config, index), statistics) as accumulators:
            advance(block, inputs)
        skeleton.release(index)
        found = {key: value for name, site in accumulators.items() for key, value in site.finish(name).items()}
        yield tensors, found


@contextmanager
def showing(block: nn.Module, sites: Sequence[Site], show: Show) -> Iterator[None]:
    """Inside, every forward pass of the block shows ``show`` what each site reads, expert by expert where routed."""
    with ExitStack() as stack:
        routed: dict[str, dict[tuple[str, int], str]] = {}
        for site in sites:
            place = slice_of(site.linears[0]) if site.linears else None
            if place is None:
                module = block.get_submodule(runtime((*site.linears, *site.readers)[0]))
                handle = module.register_forward_pre_hook(_hook(site.name, show))
                stack.callback(handle.remove)
            else:
                kind = "hidden" if place.half is None else "in"
                routed.setdefault(place.module, {})[kind, place.expert] = site.name
        for name, names in routed.items():
            experts: Any = block.get_submodule(name)
            experts.observer = _observer(names, show)
            stack.callback(delattr, experts, "observer")
        yield


def _hook(name: str, show: Show) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda module, args: show(name, args[0])


def _observer(names: dict[tuple[str, int], str], show: Show) -> Callable[[str, int, Tensor], None]:
    def observe(kind: str, expert: int, rows: Tensor) -> None:
        if (kind, expert) in names:
            show(names[kind, expert], rows)

    return observe
