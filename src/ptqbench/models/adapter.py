"""How a model family is described: its blocks, input sites and who may absorb a scale. Data, without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptqbench.errors import UserError
from ptqbench.members import members


@dataclass(frozen=True)
class Producer:
    """What a site's input comes from, and can absorb a per-channel scale exactly.

    ``norm``: the weight (and bias) of a normalization all of whose readers are in the site;
    ``linear``: the rows of a linear; ``value``: the rows of ``v_proj`` through attention, heads repeated under GQA.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Site:
    """The linears of a block that read the same tensor; they share one Hessian."""

    name: str
    linears: tuple[str, ...]
    producer: Producer | None = None
    reads_stream: bool = False


@dataclass(frozen=True)
class Adapter:
    """One model family. Names are those of the checkpoint; block-relative names lack the ``blocks.<i>.`` prefix."""

    name: str
    blocks: str
    embedding: str
    final_norm: str
    head: str
    sites: Callable[[dict[str, Any], int], tuple[Site, ...]]
    writers: tuple[str, ...]

    def n_blocks(self, config: dict[str, Any]) -> int:
        """Number of decoder blocks."""
        return int(config["num_hidden_layers"])

    def prefix(self, block: int) -> str:
        """Checkpoint prefix of a block's tensors."""
        return f"{self.blocks}.{block}."


def adapter_name(config: dict[str, Any], where: str) -> str:
    """The file in ``models/adapters`` that declares the config's ``model_type``."""
    model_type = config.get("model_type")
    known = {kind: name for name, traits in members("models/adapters").items() for kind in traits["MODEL_TYPES"]}
    if model_type not in known:
        raise UserError(
            f"{where}: its config.json has the model_type '{model_type}', which no file of models/adapters describes: "
            f"choose a model of {', '.join(sorted(known))}, or add an adapter"
        )
    return known[model_type]


def load_adapter(config: dict[str, Any], where: str = "config.json") -> Adapter:
    """The adapter for a model's ``config.json``."""
    adapter: Adapter = importlib.import_module(f"ptqbench.models.adapters.{adapter_name(config, where)}").ADAPTER
    return adapter
