"""Hidden states on their way through the blocks, with what the model itself hands each block besides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers import Cache

from ptqbench.pipeline import copy_stream

SHARE = 0.25  # of a GPU's memory, which the hidden states of all micro-batches may take


class Call(NamedTuple):
    """What a block is called with after the hidden states: masks, position embeddings, whatever its model has."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 (never written to)


@dataclass
class BlockInput:
    """Hidden states ``[b, t, d]`` of one micro-batch in front of a block, with that block's call and all later ones."""

    hidden: Tensor
    calls: tuple[Call, ...]

    @property
    def call(self) -> Call:
        """What the block gets with the hidden states."""
        return self.calls[0]

    def through(self, block: nn.Module) -> Tensor:
        """The block's output hidden states."""
        return output(block(self.hidden, *self.call.args, **self.call.kwargs))


def output(found: Any) -> Tensor:
    """The hidden states in what a block returns: they alone, or first of several."""
    hidden: Tensor = found[0] if isinstance(found, tuple) else found
    return hidden


class _Reached(Exception):
    """The last block was called; the rest of the forward pass is not wanted."""


class _Passed(Tensor):
    """Hidden states that blocks hand on unchanged, to models that take them out of a tuple as well."""

    def __getitem__(self, place: Any) -> Any:
        return self if isinstance(place, int) and place == 0 else super().__getitem__(place)


@dataclass
class _Pool:
    """Tensors of which equal ones are kept once: most blocks, and most micro-batches, are handed the same."""

    known: dict[Any, list[Tensor]] = field(default_factory=dict)

    def kept(self, value: Any) -> Any:
        """The value with its tensors shared, and without caches, which would remember one block's run in the next."""
        if isinstance(value, Tensor):
            return self._one(value.as_subclass(Tensor) if isinstance(value, _Passed) else value)
        if isinstance(value, Cache):
            return None
        if isinstance(value, dict):
            return {key: self.kept(part) for key, part in value.items()}
        return type(value)(map(self.kept, value)) if type(value) in (tuple, list) else value

    def _one(self, tensor: Tensor) -> Tensor:
        alike = self.known.setdefault((tensor.shape, tensor.dtype, tensor.device), [])
        same = next((one for one in alike if one is tensor), None)
        same = next((one for one in alike if torch.equal(one, tensor)), None) if same is None else same
        if same is None:
            alike.append(tensor)
        return tensor if same is None else same


@torch.no_grad()
def caught(blocks: nn.ModuleList, prompts: Sequence[Any], run: Callable[[Any], None]) -> list[BlockInput]:
    """What the model hands its ``blocks`` when ``run`` calls it on each of the prompts; no block computes anything."""
    found, pool = [], _Pool()

    def stand_in(index: int, *args: Any, **kwargs: Any) -> Tensor:
        hidden, *rest = args or (kwargs.pop("hidden_states"),)
        assert index == len(calls), "blocks that are not called one after the other, once each"
        if not index:
            first.append(hidden)
        calls.append(Call(tuple(map(pool.kept, rest)), pool.kept(kwargs)))
        if len(calls) == len(blocks):
            raise _Reached
        return hidden.as_subclass(_Passed)

    with ExitStack() as stack:
        for index, block in enumerate(blocks):  # the blocks stay: models read their attributes
            stack.enter_context(patch.object(block, "forward", partial(stand_in, index)))
        for prompt in prompts:
            first: list[Tensor] = []
            calls: list[Call] = []
            with suppress(_Reached):
                run(prompt)
            assert len(calls) == len(blocks), "a block that was not called"
            found.append(at_rest(BlockInput(first[0], tuple(calls)), len(prompts)))
    return found


@torch.no_grad()
def run_block(block: nn.Module, inputs: Sequence[BlockInput]) -> Iterator[Tensor]:
    """The block's output hidden states, micro-batch by micro-batch."""
    for item in resident(inputs, next(block.parameters()).device):
        yield item.through(block)


def advance(block: nn.Module, inputs: Sequence[BlockInput]) -> None:
    """Move the inputs in front of the next block."""
    for item, hidden in zip(inputs, run_block(block, inputs), strict=True):
        move_on(item, hidden)


def move_on(item: BlockInput, hidden: Tensor) -> None:
    """Put the item in front of the next block with ``hidden``, kept where its hidden states are, without waiting."""
    item.calls = item.calls[1:]
    if item.hidden.device == hidden.device:
        item.hidden = hidden
        return
    stream = copy_stream(hidden.device)
    stream.wait_stream(torch.cuda.current_stream(hidden.device))
    with torch.cuda.stream(stream):
        item.hidden = torch.empty(hidden.shape, dtype=hidden.dtype, pin_memory=True).copy_(hidden, non_blocking=True)
    hidden.record_stream(stream)


def at_rest(item: BlockInput, count: int) -> BlockInput:
    """The item with its hidden states in pinned host memory where ``count`` like it are too many for the GPU."""
    hidden = item.hidden
    if not hidden.is_cuda:
        return item
    memory = torch.cuda.get_device_properties(hidden.device).total_memory
    if count * hidden.nbytes <= SHARE * memory:
        return item
    return BlockInput(hidden.cpu().pin_memory(), item.calls)


def resident(inputs: Sequence[BlockInput], device: torch.device) -> Iterator[BlockInput]:
    """The inputs on the device; those in host memory are copied there while the one before them is in use."""
    following = _fetch(inputs[0], device) if inputs else None
    for index, original in enumerate(inputs):
        item = following
        assert item is not None
        if item is not original:
            computing = torch.cuda.current_stream(device)
            computing.wait_stream(copy_stream(device))
            item.hidden.record_stream(computing)
        following = _fetch(inputs[index + 1], device) if index + 1 < len(inputs) else None
        yield item


def _fetch(item: BlockInput, device: torch.device) -> BlockInput:
    if item.hidden.device == device or device.type != "cuda":
        return item
    with torch.cuda.stream(copy_stream(device)):
        return BlockInput(item.hidden.to(device, non_blocking=True), item.calls)
