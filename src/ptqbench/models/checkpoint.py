"""A model folder's tensors, read one at a time under the names that the hub gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ptqbench.models.adapter import Adapter, load_adapter
from ptqbench.models.headers import Header, read_config, read_headers


class Checkpoint:
    """Lazy access to a safetensors model folder; nothing is held in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = read_config(folder, str(folder))
        self.headers: dict[str, Header] = read_headers(folder, str(folder))
        self.adapter: Adapter = load_adapter(self.config, str(folder))
        self.n_blocks = self.adapter.n_blocks(self.config)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that weights are stored in, from the config."""
        return getattr(torch, self.config.get("dtype") or self.config.get("torch_dtype") or "bfloat16")

    def tensor(self, name: str) -> Tensor:
        """One tensor, as stored, on the CPU."""
        with safe_open(self.headers[name].file, framework="pt") as shard:
            return shard.get_tensor(name)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Every tensor whose name begins with ``prefix``, by the rest of its name."""
        names = [name for name in self.headers if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.tensor(name) for name in names}

    def block(self, index: int) -> dict[str, Tensor]:
        """The tensors of one block, by block-relative name."""
        return self.under(self.adapter.prefix(index))
