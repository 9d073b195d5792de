"""The statistics pass over one block: hooks on each site's input feed the accumulators."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ptqbench.models.adapter import Site


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
        """Tensors ``<site>.<statistic>`` and ``<site>.tokens``."""
        found: dict[str, Tensor] = {"tokens": torch.tensor(self.tokens)}
        for module, state in zip(self.modules, self.states, strict=True):
            found |= module.finish(state, self.tokens)
        return {f"{prefix}.{name}": tensor.cpu().contiguous() for name, tensor in found.items()}


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
