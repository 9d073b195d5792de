"""How a model family is described: its blocks, input sites and who may absorb a scale. Data, without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from ptqbench.errors import UserError
from ptqbench.members import members


@dataclass(frozen=True)
class Producer:
    """What a site's input comes from, and can absorb a per-channel scale exactly.

    ``norm``: the weight (and bias) of a normalization all of whose readers are in the site;
    ``linear``: the rows of a linear, of which the first are the site's input where it has more of them than the site
    channels; ``value``: the rows of ``v_proj`` through attention, heads repeated under GQA.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Site:
    """The linears of a block that read the same tensor; they share one Hessian.

    ``fed_by`` names the module whose output begins with the site's input, where the model applies the linears' weights
    without calling them as modules, so that nothing could be seen of their input otherwise.
    """

    name: str
    linears: tuple[str, ...]
    producer: Producer | None = None
    reads_stream: bool = False
    fed_by: str | None = None


@dataclass(frozen=True)
class Adapter:
    """One model family. Names are those of the checkpoint; block-relative names lack the ``blocks.<i>.`` prefix.

    ``excluded`` maps patterns of the matrices that stay in float to the reason. A model with images holds its language
    model's config under ``text``; ``module`` is what stands before ``layers`` and ``embed_tokens`` in the language
    model alone, if its names there are not the checkpoint's; ``outside_writers`` are linears outside the blocks that
    write to the residual stream besides the embedding. ``other`` is the same family under other checkpoint names, and
    ``floats`` are modules in float by the part of their names that all names share.
    """

    name: str
    blocks: str
    embedding: str
    final_norm: str
    head: str
    sites: Callable[[dict[str, Any], int], tuple[Site, ...]]
    writers: tuple[str, ...]
    excluded: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    module: str | None = None
    outside_writers: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    other: Adapter | None = None

    def text_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The language model's part of the config."""
        return config[self.text] if self.text else config

    def n_blocks(self, config: dict[str, Any]) -> int:
        """Number of decoder blocks."""
        return int(self.text_config(config)["num_hidden_layers"])

    def named_as(self, names: Collection[str]) -> Adapter:
        """This adapter, or the one for the other names where the checkpoint has those."""
        return self.other if self.other and f"{self.other.embedding}.weight" in names else self

    def outside(self) -> list[str]:
        """The tensors outside the blocks that a rotation of the residual stream changes, where the model has them."""
        biases = [f"{name}.bias" for name in self.outside_writers]
        return [f"{n}.weight" for n in (self.embedding, self.final_norm, self.head, *self.outside_writers)] + biases

    def untied(self) -> dict[str, Any]:
        """What ``config.json`` must say when the head has got a weight of its own."""
        change = {"tie_word_embeddings": False}
        return {self.text: change, **change} if self.text else change

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
