"""Mixtral: Llama's attention and a mixture of experts in every block."""

from __future__ import annotations

from typing import Any

from ptqbench.models.adapter import Adapter, Site
from ptqbench.models.adapters import llama
from ptqbench.models.mixture import ROUTER, mixture_sites

MODEL_TYPES = ("mixtral",)
STRUCTURE = "mixture of experts"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Attention as in Llama, then the experts, whose checkpoint names are w1 (gate), w3 (up) and w2 (down)."""
    moe = "block_sparse_moe"
    n_experts = int(config["num_local_experts"])
    names = ("w1", "w3", "w2")
    mixture = mixture_sites(f"{moe}.experts", names, n_experts, "post_attention_layernorm", (f"{moe}.gate",))
    return (*llama.sites(config, block)[:2], *mixture)


ADAPTER = Adapter(
    name="mixtral",
    blocks="model.layers",
    embedding="model.embed_tokens",
    final_norm="model.norm",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("self_attn.o_proj", "*.w2"),
    excluded={"*.block_sparse_moe.gate.weight": ROUTER},
    needs=("num_hidden_layers", "hidden_size", "num_attention_heads", "num_local_experts"),
)
