"""Gemma 1 to 3: RMSNorms of ``1 + weight``, from Gemma 2 on also behind each sublayer, where no rotation gets through.

The embedding, which is the head too, is multiplied by a constant, which every fold leaves alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Producer, Site
from ptqbench.models.adapters import llama

MODEL_TYPES = ("gemma",)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Llama's, of norms of ``1 + weight``."""
    return tuple(map(plus_one, llama.sites(config, block)))


def plus_one(site: Site) -> Site:
    """A site whose norm, if one feeds it, multiplies by one and its weight."""
    norm = site.producer is not None and site.producer.kind == "norm"
    return replace(site, producer=replace(site.producer, plus=1.0)) if norm and site.producer else site


def before_mlp(site: Site) -> Site:
    """The MLP's site, which another norm feeds where one stands behind attention."""
    return replace(site, producer=Producer("norm", "pre_feedforward_layernorm")) if site.name == "mlp" else site


ADAPTER = replace(llama.ADAPTER, name="gemma", sites=sites, final_plus=1.0)
