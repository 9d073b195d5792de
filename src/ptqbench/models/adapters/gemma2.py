"""Gemma 2 and 3, the language model: as Gemma, with norms behind attention and MLP as well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Site
from ptqbench.models.adapters import gemma, llama

MODEL_TYPES = ("gemma2", "gemma3_text")
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Gemma's, where ``post_attention_layernorm`` is of attention's output."""
    return tuple(gemma.plus_one(gemma.before_mlp(site)) for site in llama.sites(config, block))


ADAPTER = replace(gemma.ADAPTER, name="gemma2", sites=sites, norms=None)
