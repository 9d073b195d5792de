"""OLMo 2 and 3, EXAONE 4: attention and MLP read the residual stream itself, and norms follow them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Site
from ptqbench.models.adapters import llama

MODEL_TYPES = ("olmo2", "olmo3", "exaone4")
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Llama's, where nothing absorbs a scale of what is read from the stream."""
    return tuple(replace(site, producer=None) if site.reads_stream else site for site in llama.sites(config, block))


ADAPTER = replace(llama.ADAPTER, name="olmo2", sites=sites, norms=None)
