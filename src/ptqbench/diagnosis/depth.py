"""Where the loss comes from: blocks of a cell put into the float model, and of the float model into the cell.

A rotated block is the same function of a rotated stream, so its inputs are rotated before it and its outputs back after
it: any choice of float and quantized blocks is then a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ptqbench.artifacts.cell import QuantizedCell
from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.linalg.divergence import divergence
from ptqbench.linalg.orthogonal import as_matrix
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.experts import fuse


class Hybrid:
    """The float model (a transformers model on its device), any of whose blocks may be the cell's."""

    def __init__(self, model: nn.Module, checkpoint: Checkpoint, cell: QuantizedCell) -> None:
        self.model, self.checkpoint, self.cell = model, checkpoint, cell
        self.blocks = model.get_submodule(checkpoint.adapter.blocks)
        self.rotation = None if cell.rotations is None else as_matrix(cell.rotations.r1).float()
        self.quantized: set[int] = set()
        for index in range(checkpoint.n_blocks):
            self._hook(index)

    def use(self, quantized: set[int]) -> None:
        """Make exactly these blocks the cell's."""
        for index in quantized ^ self.quantized:
            own = block_tensors(self.checkpoint, self.cell, index) if index in quantized else {}
            tensors = own or self.checkpoint.block(index)
            block = self.blocks.get_submodule(str(index))
            state = block.state_dict()
            found = fuse(tensors)
            block.load_state_dict({name: tensor.to(state[name]) for name, tensor in found.items()}, strict=True)
        self.quantized = set(quantized)

    def divergence(self, tokens: Tensor, reference: list[Tensor]) -> float:
        """Mean ``KL(float || hybrid)`` in nats per token over ``tokens [samples, length]``."""
        found = [divergence(wanted, logits) for wanted, logits in zip(reference, self.logits(tokens), strict=True)]
        return float(torch.cat([values.flatten() for values in found]).mean())

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Iterator[Tensor]:
        """Logits of one sequence after the other, on the CPU."""
        device = next(self.model.parameters()).device
        for row in tokens:
            yield self.model(input_ids=row[None].to(device), use_cache=False).logits.float().cpu()

    def _hook(self, index: int) -> None:
        if self.rotation is None:
            return
        block = self.blocks.get_submodule(str(index))
        rotation = self.rotation

        def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            return (turned(args[0], rotation), *args[1:]) if index in self.quantized else None

        def after(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            if index not in self.quantized:
                return None
            return (turned(out[0], rotation.T), *out[1:]) if isinstance(out, tuple) else turned(out, rotation.T)

        block.register_forward_pre_hook(before)
        block.register_forward_hook(after)


def turned(hidden: Tensor, rotation: Tensor) -> Tensor:
    """``hidden @ rotation`` in the stream's dtype."""
    return (hidden.float() @ rotation.to(hidden.device)).to(hidden.dtype)


def block_tensors(checkpoint: Checkpoint, cell: QuantizedCell, index: int) -> dict[str, Tensor]:
    """A block's tensors as the cell has them, by block-relative name."""
    prefix = checkpoint.adapter.prefix(index)
    found = {}
    for name, tensor in checkpoint.block(index).items():
        own = cell.replacement(prefix + name)
        found[name] = own.dequantize() if isinstance(own, QuantizedLinear) else tensor if own is None else own
    return found


def growth(hybrid: Hybrid, tokens: Tensor, reference: list[Tensor]) -> Iterator[tuple[int, float]]:
    """``(k, KL)`` with the first k blocks quantized."""
    for count in range(hybrid.checkpoint.n_blocks + 1):
        hybrid.use(set(range(count)))
        yield count, hybrid.divergence(tokens, reference)


def restored(hybrid: Hybrid, tokens: Tensor, reference: list[Tensor]) -> Iterator[tuple[int, float]]:
    """``(block, KL)`` with every block quantized but that one."""
    blocks = set(range(hybrid.checkpoint.n_blocks))
    for index in sorted(blocks):
        hybrid.use(blocks - {index})
        yield index, hybrid.divergence(tokens, reference)
