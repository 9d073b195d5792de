"""StarCoder2: LayerNorms, biases, and an MLP of two matrices with GELU between them, which lets no scale through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Site
from ptqbench.models.adapters import llama

MODEL_TYPES = ("starcoder2",)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Llama's attention, and the MLP's two matrices."""
    attention, out, mlp, _ = llama.sites(config, block)
    return attention, out, replace(mlp, linears=("mlp.c_fc",)), Site("mlp_out", ("mlp.c_proj",))


ADAPTER = replace(llama.ADAPTER, name="starcoder2", sites=sites, norms=None, writers=("self_attn.o_proj", "mlp.c_proj"))
