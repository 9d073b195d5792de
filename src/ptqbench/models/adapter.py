"""How a model family is described: its blocks, input sites and who may absorb a scale. Data, without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from itertools import groupby
from typing import Any

from ptqbench.errors import UserError, did_you_mean, shown
from ptqbench.members import members

TOWER_NEEDS = ("num_hidden_layers", "intermediate_size")


@dataclass(frozen=True)
class Producer:
    """What a site's input comes from, and can absorb a per-channel scale exactly.

    ``norm``: the weight (and bias) of a normalization all of whose readers are in sites that name it, which multiplies
    by ``plus`` and its weight; ``linear``: the rows of a linear, those from ``first`` on where it has more of them than
    the site channels; ``value``: the rows of ``v_proj`` through attention, heads repeated under GQA, from ``first`` on,
    where each head may have ``skip`` other rows before those of its values.
    """

    kind: str
    name: str
    skip: int = 0
    first: int = 0
    plus: float = 0.0


@dataclass(frozen=True)
class Site:
    """The linears of a block that read the same tensor; they share one Hessian.

    ``readers`` read it too and stay in float (routers). A site of one expert sees the tokens routed to it: ``routed``
    names the site of all tokens that the mixture reads. Sites whose names are equal up to a dot are computed side by
    side. ``fed_by`` names the module whose output begins with the site's input, where the model applies the linears'
    weights without calling them as modules, so that nothing could be seen of their input otherwise.
    """

    name: str
    linears: tuple[str, ...]
    producer: Producer | None = None
    reads_stream: bool = False
    readers: tuple[str, ...] = ()
    routed: str | None = None
    fed_by: str | None = None

    @property
    def stage(self) -> str:
        """What the names of sites that are computed side by side begin with."""
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Tower:
    """A vision tower and the projector of its features, by their checkpoint names.

    ``config`` is the key of the tower's config, from which ``sites`` are those of each of its blocks; ``excluded`` says
    of its matrices in no site why they stay in float, by a pattern of the name inside the tower.
    """

    name: str
    projector: str
    config: str
    sites: Callable[[dict[str, Any]], tuple[Site, ...]]
    excluded: dict[str, str]

    def blocks(self, names: Collection[str]) -> str:
        """What stands before the number of a block; not every checkpoint has the level ``vision_model``."""
        deep = f"{self.name}.vision_model.encoder.layers"
        return deep if any(name.startswith(deep) for name in names) else f"{self.name}.encoder.layers"


@dataclass(frozen=True)
class Adapter:
    """One model family. Names are those of the checkpoint; block-relative names lack the ``blocks.<i>.`` prefix.

    ``writers`` are patterns of the linears that write to the residual stream; ``excluded`` says of every matrix in no
    site, by a pattern of its name, why it stays in float. ``norms`` is "rms" where all norms on the residual stream are
    RMSNorms and none weighs what a sublayer adds to it, without which no rotation of it leaves the model's function
    alone; ``final_plus`` is what the final norm adds to its weight. ``beside`` are the modules that the stream begins
    with besides the embedding. A model with images holds its language
    model's config under ``text``; ``module`` is what stands before ``layers`` and ``embed_tokens`` in the language
    model alone, if its names there are not the checkpoint's; ``outside_writers`` are linears outside the blocks that
    write to the residual stream besides the embedding. ``other`` is the same family under other checkpoint names, and
    ``floats`` are modules in float by the part of their names that all names share. ``defaults`` are what the hub's
    configs of the language model omit, and ``needs`` the keys of such a config that have to be there. A model with
    images has a ``tower``; where that is quantized too (:meth:`with_tower`), its ``tower_blocks`` blocks, named by
    ``tower_prefix``, come before those of the language model.
    """

    name: str
    blocks: str
    embedding: str
    final_norm: str
    head: str
    sites: Callable[[dict[str, Any], int], tuple[Site, ...]]
    writers: tuple[str, ...]
    excluded: dict[str, str] = field(default_factory=dict)
    norms: str | None = None
    final_plus: float = 0.0
    beside: tuple[str, ...] = ()
    text: str | None = None
    module: str | None = None
    outside_writers: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    other: Adapter | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    tower: Tower | None = None
    tower_blocks: int = 0
    tower_prefix: str = ""

    def text_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The language model's part of the config."""
        return self.defaults | config[self.text] if self.text else config

    def block_config(self, config: dict[str, Any], block: int) -> dict[str, Any]:
        """The part of the config that describes a block."""
        if self.tower and block < self.tower_blocks:
            found: dict[str, Any] = config[self.tower.config]
            return found
        return self.text_config(config)

    def n_blocks(self, config: dict[str, Any]) -> int:
        """Number of decoder blocks, and of the tower's where those are quantized too."""
        return self.tower_blocks + int(self.text_config(config)["num_hidden_layers"])

    def with_tower(self, config: dict[str, Any], names: Collection[str]) -> Adapter:
        """This adapter for a model of ``config``, whose tensors are ``names``, with its vision tower quantized too."""
        tower, text_sites = self.tower, self.sites
        assert tower is not None
        count, sites = int(config[tower.config]["num_hidden_layers"]), tower.sites(config[tower.config])
        others = {pattern: why for pattern, why in self.excluded.items() if not pattern.startswith(tower.name)}
        return replace(
            self,
            sites=lambda config, block: sites if block < count else text_sites(config, block - count),
            excluded={f"{tower.name}.{pattern}": why for pattern, why in tower.excluded.items()} | others,
            tower_blocks=count,
            tower_prefix=tower.blocks(names),
        )

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

    def writers_among(self, sites: Iterable[Site]) -> tuple[str, ...]:
        """The linears of ``sites`` that write to the residual stream."""
        linears = [linear for site in sites for linear in site.linears]
        return tuple(linear for linear in linears if any(fnmatch(linear, pattern) for pattern in self.writers))

    def prefix(self, block: int) -> str:
        """Checkpoint prefix of a block's tensors."""
        if block < self.tower_blocks:
            return f"{self.tower_prefix}.{block}."
        return f"{self.blocks}.{block - self.tower_blocks}."


def stages(sites: Iterable[Site]) -> list[tuple[Site, ...]]:
    """The sites in the order of computation, those that are computed side by side together."""
    return [tuple(group) for _, group in groupby(sites, key=lambda site: site.stage)]


def by_producer(sites: Iterable[Site]) -> list[tuple[Site, ...]]:
    """The sites in groups that one producer feeds, and that one scale must serve; a site without one is alone."""
    groups: dict[Producer | str, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.producer or site.name, []).append(site)
    return [tuple(group) for group in groups.values()]


def reason_for_float(adapter: Adapter, name: str) -> str | None:
    """Why the checkpoint's matrix ``name`` is not quantized, in one phrase; None where the adapter gives no reason."""
    outside = {f"{adapter.embedding}.weight": "the embedding is a table", f"{adapter.head}.weight": "the head"}
    return outside.get(name) or next((why for pattern, why in adapter.excluded.items() if fnmatch(name, pattern)), None)


def adapter_name(config: dict[str, Any], where: str) -> str:
    """The file in ``models/adapters`` that declares the config's ``model_type``.

    Raises :class:`UserError` where no file does.
    """
    model_type = config.get("model_type")
    known = {kind: name for name, traits in members("models/adapters").items() for kind in traits["MODEL_TYPES"]}
    if model_type not in known:
        raise UserError(
            f"{where}: its config.json has the model_type {shown(model_type)}, which no file of models/adapters "
            f"describes{did_you_mean(str(model_type), known)}, or add an adapter"
        )
    return known[model_type]


def load_adapter(config: dict[str, Any], where: str = "config.json") -> Adapter:
    """The adapter for a model's ``config.json``.

    Raises :class:`UserError` where none describes it, or a key that it reads is missing.
    """
    adapter: Adapter = importlib.import_module(f"ptqbench.models.adapters.{adapter_name(config, where)}").ADAPTER
    for key in (adapter.text, adapter.tower.config if adapter.tower else None):
        if key and not isinstance(config.get(key), dict):
            raise UserError(f"{where}: its config.json lacks the key '{key}', an object: add it")
    needed = {key: adapter.text_config(config) for key in adapter.needs}
    if adapter.tower:
        needed |= {f"{adapter.tower.config}.{key}": config[adapter.tower.config] for key in TOWER_NEEDS}
    for key, settings in needed.items():
        if settings.get(key.rpartition(".")[2]) is None:
            raise UserError(f"{where}: its config.json lacks the key '{key}': add it")
    return adapter
