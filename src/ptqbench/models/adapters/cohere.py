"""Command R (cohere, cohere2): one LayerNorm feeds attention and MLP, which both write to the stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Site
from ptqbench.models.adapters import llama

MODEL_TYPES = ("cohere", "cohere2")
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Llama's, with all that reads the norm in one site."""
    attention, out, mlp, mlp_out = llama.sites(config, block)
    return replace(attention, linears=(*attention.linears, *mlp.linears)), out, mlp_out


ADAPTER = replace(llama.ADAPTER, name="cohere", sites=sites, norms=None)
