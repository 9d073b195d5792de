"""Run a model one block at a time: everything else stays on the meta device, so it may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.models.buffers import rebuild_buffers
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.experts import fuse, make_watchable
from ptqbench.models.shown import Calibration, batches
from ptqbench.models.sight import Sight
from ptqbench.models.stream import BlockInput, caught


class Skeleton:
    """A language model of which only the embeddings and one block at a time are real.

    Where a vision tower is quantized too, its blocks come first, and it is real as a whole: what a block of it was last
    given is what later images pass through.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        adapter = checkpoint.adapter
        config, remote = language_config(checkpoint), checkpoint.remote
        with torch.device("meta"):
            self.model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=remote).eval()
        make_watchable(self.model)
        inside = adapter.module
        self._blocks_at = f"{inside}.layers" if inside else adapter.blocks
        embedding = f"{inside}.embed_tokens" if inside else adapter.embedding
        rebuild_buffers(self.model, self.model, device)
        for name, stored in ((embedding, adapter.embedding), *((name, name) for name in adapter.beside)):
            self._materialize(name, checkpoint.under(stored + "."))
        for index, block in enumerate(self._blocks(), adapter.tower_blocks):
            for site in adapter.sites(checkpoint.config, index):
                if site.fed_by:
                    calls = partial(_call_with_first_channels, *(block.get_submodule(name) for name in site.linears))
                    block.get_submodule(site.fed_by).register_forward_hook(calls)

    @cached_property
    def sight(self) -> Sight:
        """The vision tower and projector, read when first used."""
        return Sight(self.checkpoint, self.device, self.dtype)

    def segments(self, calibration: Calibration, batch_size: int) -> Iterator[tuple[range, list[BlockInput]]]:
        """Runs of blocks of which each feeds the next, with what the first receives: the tower's, the language model's.

        The language model's inputs are made when they are asked for, with the tower as it is then.
        """
        first = self.checkpoint.adapter.tower_blocks
        if first:
            yield range(first), self.tower_inputs(calibration, batch_size)
        yield range(first, self.checkpoint.n_blocks), self.inputs(calibration, batch_size)

    def inputs(self, calibration: Calibration, batch_size: int) -> list[BlockInput]:
        """What the language model's first block receives for the calibration set, in micro-batches."""
        if isinstance(calibration, Tensor):
            prompts = [{"input_ids": batch} for batch in calibration.split(batch_size)]
            return caught(self._blocks(), prompts, self._read)
        words = self.model.get_input_embeddings()
        return caught(
            self._blocks(),
            batches(calibration, batch_size),
            lambda batch: self._read({"inputs_embeds": self.sight.embed(batch, words)}),
        )

    def tower_inputs(self, calibration: Calibration, batch_size: int) -> list[BlockInput]:
        """What the vision tower's first block receives for the calibration set's images, in micro-batches."""
        assert not isinstance(calibration, Tensor)
        pixels = [batch.pixels for batch in batches(calibration, batch_size)]
        return caught(self.sight.blocks, pixels, self.sight.look)

    def block(self, index: int, tensors: dict[str, Tensor]) -> nn.Module:
        """Block ``index`` on the device with ``tensors`` as its weights (block-relative names, all of them)."""
        module = self._block(index)
        rebuild_buffers(self.model, module, self.device)  # a block that was released has lost its own
        self._load(module, tensors)
        return module

    def release(self, index: int) -> None:
        """Give the block's memory back; a vision tower stays."""
        if index >= self.checkpoint.adapter.tower_blocks:
            self._block(index).to("meta")

    def _block(self, index: int) -> nn.Module:
        first = self.checkpoint.adapter.tower_blocks
        return self.sight.blocks[index] if index < first else self._blocks()[index - first]

    def _read(self, prompt: dict[str, Tensor]) -> None:
        self.model(**{name: tensor.to(self.device) for name, tensor in prompt.items()}, use_cache=False)

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


def language_config(checkpoint: Checkpoint) -> Any:
    """transformers' config of the language model, which a model with images holds inside its own."""
    if not checkpoint.adapter.text:
        return AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=checkpoint.remote)
    settings = {key: value for key, value in checkpoint.text_config.items() if key != "model_type"}
    return AutoConfig.for_model(checkpoint.text_config.get("model_type", "llama"), **settings)


def _call_with_first_channels(*called: Any) -> None:
    """A forward hook: call the linears on the first channels of the output, for whoever watches their input."""
    *linears, _, _, output = called
    for linear in linears:
        linear(output[..., : linear.in_features])
