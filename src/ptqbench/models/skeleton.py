"""Run a model one block at a time: everything else stays on the meta device, so it may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.experts import fuse, make_watchable
from ptqbench.pipeline import copy_stream

CACHES = ("past_key_values", "cache_params", "use_cache")
SHARE = 0.25  # of a GPU's memory, which the hidden states of all micro-batches may take


@dataclass
class BlockInput:
    """Hidden states ``[b, t, d]`` of one micro-batch and the keyword arguments that every block gets with them."""

    hidden: Tensor
    kwargs: dict[str, Any]


class _Reached(Exception):
    """The first block was called; the rest of the forward pass is not wanted."""


class _Catcher(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.caught: BlockInput | None = None

    def forward(self, hidden: Tensor, **kwargs: Any) -> Tensor:
        kwargs = {key: value for key, value in kwargs.items() if key not in CACHES}
        self.caught = BlockInput(hidden, kwargs)
        raise _Reached


class Skeleton:
    """A language model of which only the embeddings and one block at a time are real."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, remote: bool = False) -> None:
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        adapter = checkpoint.adapter
        config = language_config(checkpoint, remote)
        with torch.device("meta"):
            self.model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=remote).eval()
        make_watchable(self.model)
        inside = adapter.module
        self._blocks_at = f"{inside}.layers" if inside else adapter.blocks
        embedding = f"{inside}.embed_tokens" if inside else adapter.embedding
        self._materialize(embedding, checkpoint.under(adapter.embedding + "."))
        self._rebuild_buffers()
        for index, block in enumerate(self._blocks()):
            for site in adapter.sites(checkpoint.config, index):
                if site.fed_by:
                    calls = partial(_call_with_first_channels, *(block.get_submodule(name) for name in site.linears))
                    block.get_submodule(site.fed_by).register_forward_hook(calls)

    def inputs(self, tokens: Tensor, batch_size: int) -> list[BlockInput]:
        """What the first block receives for ``tokens [samples, length]``, in micro-batches."""
        blocks = self._blocks()
        original, catcher = blocks[0], _Catcher()
        blocks[0] = catcher
        caught = []
        try:
            for batch in tokens.split(batch_size):
                try:
                    with torch.no_grad():
                        self.model(input_ids=batch.to(self.device), use_cache=False)
                except _Reached:
                    assert catcher.caught is not None
                    caught.append(kept(catcher.caught, -(-len(tokens) // batch_size)))
        finally:
            blocks[0] = original
        return caught

    def block(self, index: int, tensors: dict[str, Tensor]) -> nn.Module:
        """Block ``index`` on the device with ``tensors`` as its weights (block-relative names, all of them)."""
        module = self._blocks()[index]
        self._load(module, tensors)
        return module

    def release(self, index: int) -> None:
        """Give the block's memory back."""
        self._blocks()[index].to("meta")

    def _blocks(self) -> nn.ModuleList:
        found = self.model.get_submodule(self._blocks_at)
        assert isinstance(found, nn.ModuleList)
        return found

    def _materialize(self, name: str, tensors: dict[str, Tensor]) -> None:
        self._load(self.model.get_submodule(name), tensors)

    def _load(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        real = {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in fuse(tensors).items()
        }
        module.load_state_dict(real, strict=True, assign=True)
        module.requires_grad_(False)

    def _rebuild_buffers(self) -> None:
        """Buffers that no checkpoint holds (rotary frequencies) are computed by their module's constructor."""
        for name, module in list(self.model.named_modules()):
            buffers = [buffer for buffer in module._buffers.values() if buffer is not None]
            if buffers and all(buffer.is_meta for buffer in buffers):
                with torch.device(self.device):
                    self.model.set_submodule(name, type(module)(config=self.model.config))


def language_config(checkpoint: Checkpoint, remote: bool) -> Any:
    """transformers' config of the language model, which a model with images holds inside its own."""
    if not checkpoint.adapter.text:
        return AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=remote)
    settings = {key: value for key, value in checkpoint.text_config.items() if key != "model_type"}
    return AutoConfig.for_model(checkpoint.text_config.get("model_type", "llama"), **settings)


def _call_with_first_channels(*called: Any) -> None:
    """A forward hook: call the linears on the first channels of the output, for whoever watches their input."""
    *linears, _, _, output = called
    for linear in linears:
        linear(output[..., : linear.in_features])


@torch.no_grad()
def run_block(block: nn.Module, inputs: list[BlockInput]) -> Iterator[Tensor]:
    """The block's output hidden states, micro-batch by micro-batch."""
    for item in resident(inputs, next(block.parameters()).device):
        out = block(item.hidden, **item.kwargs)
        yield out[0] if isinstance(out, tuple) else out


def advance(block: nn.Module, inputs: list[BlockInput]) -> None:
    """Replace the hidden states by what the block makes of them, where they are kept."""
    for item, hidden in zip(inputs, run_block(block, inputs), strict=True):
        replace_hidden(item, hidden)


def kept(item: BlockInput, count: int) -> BlockInput:
    """The item with its hidden states in pinned host memory where ``count`` like it are too many for the GPU."""
    hidden = item.hidden
    if not hidden.is_cuda:
        return item
    memory = torch.cuda.get_device_properties(hidden.device).total_memory
    if count * hidden.nbytes <= SHARE * memory:
        return item
    return BlockInput(hidden.cpu().pin_memory(), item.kwargs)


def resident(inputs: list[BlockInput], device: torch.device) -> Iterator[BlockInput]:
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


def replace_hidden(item: BlockInput, hidden: Tensor) -> None:
    """Put ``hidden`` where the item keeps its hidden states, without waiting for it."""
    if item.hidden.device == hidden.device:
        item.hidden = hidden
        return
    stream = copy_stream(hidden.device)
    stream.wait_stream(torch.cuda.current_stream(hidden.device))
    with torch.cuda.stream(stream):
        item.hidden = torch.empty(hidden.shape, dtype=hidden.dtype, pin_memory=True).copy_(hidden, non_blocking=True)
    hidden.record_stream(stream)


def _fetch(item: BlockInput, device: torch.device) -> BlockInput:
    if item.hidden.device == device or device.type != "cuda":
        return item
    with torch.cuda.stream(copy_stream(device)):
        return BlockInput(item.hidden.to(device, non_blocking=True), item.kwargs)
