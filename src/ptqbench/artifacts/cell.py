"""Read a quantized cell back, one block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.artifacts.names import OUTSIDE, ROTATIONS, block_file
from ptqbench.linalg.rotations import Rotations
from ptqbench.manifest import load
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.records import Codes


class QuantizedCell:
    """What a cell replaces in its model, by checkpoint name; ``config`` is what ``config.json`` must say besides.

    ``rotations`` are those of the residual stream, where a transform made any.
    """

    def __init__(self, manifest: Path, checkpoint: Checkpoint) -> None:
        content = load(manifest, Codes)
        self.checkpoint, self.folder = checkpoint, manifest.parent
        self.config: dict[str, Any] = content["config"]
        self.packed_bytes, self.n_weights = int(content["packed_bytes"]), int(content["n_weights"])
        self.outside: dict[str, Tensor] = load_file(self.folder / OUTSIDE)
        turned = self.folder / ROTATIONS
        self.rotations = Rotations.from_state(load_file(turned)) if turned.is_file() else None
        adapter = checkpoint.adapter
        self._place = {
            f"{adapter.prefix(block)}{linear}": (block, site.name)
            for block in range(checkpoint.n_blocks)
            for site in adapter.sites(checkpoint.config, block)
            for linear in site.linears
        }
        self._prefixes = [adapter.prefix(block) for block in range(checkpoint.n_blocks)]
        self._read = lru_cache(maxsize=4)(self._load)  # two shards are written at once, and a shard may split a block

    def linears(self) -> Iterator[tuple[str, QuantizedLinear]]:
        """Every quantized linear with its checkpoint name."""
        for name in self._place:
            yield name, self._linear(name)

    def sites(self) -> Iterator[tuple[int, list[QuantizedLinear]]]:
        """The linears of every site, and the block that it is in."""
        for (block, _), names in groupby(self._place, key=self._place.__getitem__):
            yield block, [self._linear(name) for name in names]

    def in_tower(self, name: str) -> bool:
        """Whether a quantized linear is one of the vision tower's."""
        return self._place[name][0] < self.checkpoint.adapter.tower_blocks

    def replacement(self, name: str) -> QuantizedLinear | Tensor | None:
        """What stands for the checkpoint's tensor ``name``: codes, a changed float tensor, or None for itself."""
        linear = name.removesuffix(".weight")
        if linear in self._place:
            return self._linear(linear) if name.endswith(".weight") else self._float(name, self._place[linear][0])
        if name in self.outside:
            return self.outside[name]
        return next((found for block in self._blocks(name) if (found := self._float(name, block)) is not None), None)

    def added(self) -> dict[str, Tensor]:
        """Tensors that the model did not have, such as an untied head."""
        return {name: tensor for name, tensor in self.outside.items() if name not in self.checkpoint.headers}

    def _linear(self, name: str) -> QuantizedLinear:
        block, site = self._place[name]
        own = name.removeprefix(self.checkpoint.adapter.prefix(block))
        return QuantizedLinear.from_state(self._read(block), own, site)

    def _float(self, name: str, block: int) -> Tensor | None:
        return self._read(block).get(f"float.{name.removeprefix(self.checkpoint.adapter.prefix(block))}")

    def _blocks(self, name: str) -> list[int]:
        return [block for block, prefix in enumerate(self._prefixes) if name.startswith(prefix)]

    def _load(self, block: int) -> dict[str, Tensor]:
        return load_file(self.folder / block_file(block))
