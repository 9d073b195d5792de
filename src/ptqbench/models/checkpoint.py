"""A model folder's tensors, read one at a time under the names that the hub gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ptqbench.models.adapter import Adapter, load_adapter
from ptqbench.models.headers import Header, read_config, read_headers
from ptqbench.models.recomputed import is_recomputed


class Checkpoint:
    """Lazy access to the weights of a safetensors model folder; nothing is held in memory.

    With ``vision_tower``, the blocks of the tower are blocks of the model, before those of the language model.
    ``remote`` trusts the code beside the weights: it is run, and exports carry it.
    """

    def __init__(self, folder: Path, vision_tower: bool = False, remote: bool = False) -> None:
        self.folder, self.remote = folder, remote
        self.config: dict[str, Any] = read_config(folder, str(folder))
        headers = read_headers(folder, str(folder))
        self.headers: dict[str, Header] = {n: header for n, header in headers.items() if not is_recomputed(n)}
        adapter = load_adapter(self.config, str(folder)).named_as(self.headers)
        self.adapter: Adapter = adapter.with_tower(self.config, self.headers) if vision_tower else adapter
        self.text_config = self.adapter.text_config(self.config)
        self.n_blocks = self.adapter.n_blocks(self.config)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that weights are stored in, from the config."""
        configs = (self.config, self.text_config)
        return getattr(torch, next((c[k] for c in configs for k in ("dtype", "torch_dtype") if c.get(k)), "bfloat16"))

    def linears(self) -> Iterator[str]:
        """The linears to quantize, block after block, by checkpoint name."""
        for block in range(self.n_blocks):
            for site in self.adapter.sites(self.config, block):
                yield from (f"{self.adapter.prefix(block)}{linear}" for linear in site.linears)

    def tensor(self, name: str) -> Tensor:
        """One tensor, as stored, on the CPU."""
        header = self.headers[name]
        with safe_open(header.file, framework="pt") as shard:
            return shard.get_tensor(name.removeprefix(f"{header.part}.") if header.part else name)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Every tensor whose name begins with ``prefix``, by the rest of its name."""
        names = [name for name in self.headers if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.tensor(name) for name in names}

    def block(self, index: int) -> dict[str, Tensor]:
        """The tensors of one block, by block-relative name."""
        return self.under(self.adapter.prefix(index))
