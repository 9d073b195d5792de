"""The statistics pass over one block: hooks on each site's input feed the accumulators."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from ptqbench.models.adapter import Site
from ptqbench.models.skeleton import BlockInput, Skeleton, advance, resident
from ptqbench.pipeline import ahead, received, upload

BlockTensors = dict[str, Tensor]


class SiteAccumulator:
    """Every accumulator of one input site."""

    def __init__(self, statistics: Sequence[str]) -> None:
        self.modules = [importlib.import_module(f"ptqbench.statistics.{name}") for name in statistics]
        self.states: list[dict[str, Tensor]] = []
        self.tokens = 0

    def update(self, x: Tensor) -> None:
        """Add inputs ``[…, n]``."""
        rows = x.flatten(0, -2)
        if not self.states:
            self.states = [module.start(rows.shape[1], rows.device) for module in self.modules]
        for module, state in zip(self.modules, self.states, strict=True):
            module.update(state, rows)
        self.tokens += len(rows)

    def finish(self, prefix: str) -> dict[str, Tensor]:
        """Tensors ``<site>.<statistic>`` and ``<site>.tokens``, on the device; the sums are consumed."""
        found: dict[str, Tensor] = {"tokens": torch.tensor(self.tokens)}
        for module, state in zip(self.modules, self.states, strict=True):
            found |= module.finish(state, self.tokens)
            state.clear()
        return {f"{prefix}.{name}": tensor for name, tensor in found.items()}


@contextmanager
def watching(
    block: nn.Module, sites: Sequence[Site], statistics: Sequence[str]
) -> Iterator[dict[str, SiteAccumulator]]:
    """Accumulate the inputs of each site's first linear while the context is open."""
    accumulators = {site.name: SiteAccumulator(statistics) for site in sites}
    handles = []

    def hook_for(name: str) -> Any:
        return lambda module, args: accumulators[name].update(args[0])

    for site in sites:
        module = block.get_submodule(site.linears[0])
        handles.append(module.register_forward_pre_hook(hook_for(site.name)))
    try:
        yield accumulators
    finally:
        for handle in handles:
            handle.remove()


class _Reached(Exception):
    """The site's input was seen; the rest of the block's forward pass is not wanted."""


@torch.no_grad()
def collect_site(block: nn.Module, site: Site, inputs: list[BlockInput], statistics: Sequence[str]) -> BlockTensors:
    """The statistics of one site, with every forward pass ended where the site's input is known."""

    def stop(module: nn.Module, args: Any) -> None:
        raise _Reached

    with watching(block, (site,), statistics) as accumulators:
        handle = block.get_submodule(site.linears[0]).register_forward_pre_hook(stop)
        try:
            for item in resident(inputs, next(block.parameters()).device):
                with suppress(_Reached):
                    block(item.hidden, **item.kwargs)
        finally:
            handle.remove()
    return accumulators[site.name].finish(site.name)


def collect_blocks(
    skeleton: Skeleton, inputs: list[BlockInput], statistics: Sequence[str]
) -> Iterator[tuple[BlockTensors, BlockTensors]]:
    """One full-precision pass: each block's tensors and the statistics of its sites, both on the device.

    ``inputs`` move on with the blocks; the next block's weights are read while this one computes.
    """
    checkpoint = skeleton.checkpoint
    blocks = ahead(lambda index: upload(checkpoint.block(index), skeleton.device), range(checkpoint.n_blocks))
    for index, tensors in enumerate(blocks):
        block = skeleton.block(index, received(tensors))
        with watching(block, checkpoint.adapter.sites(checkpoint.config, index), statistics) as accumulators:
            advance(block, inputs)
        skeleton.release(index)
        found = {key: value for name, site in accumulators.items() for key, value in site.finish(name).items()}
        yield tensors, found
