"""Qwen2-MoE, Qwen3-MoE, OLMoE: Llama's attention, experts in most blocks, and in Qwen2-MoE a gated shared expert."""

from __future__ import annotations

from typing import Any

from ptqbench.errors import UserError
from ptqbench.models.adapter import Adapter, Site
from ptqbench.models.adapters import deepseek, llama
from ptqbench.models.mixture import ROUTER, mixture_sites

MODEL_TYPES = ("qwen2_moe", "qwen3_moe", "olmoe")
STRUCTURE = "mixture of experts"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Attention as in Llama, then the experts, or a dense MLP in the blocks that the config names."""
    attention, out, *mlp = llama.sites(config, block)
    every = int(config.get("decoder_sparse_step") or 1)
    if block in (config.get("mlp_only_layers") or ()) or (block + 1) % every:
        return (attention, out, *mlp)
    shared = config["model_type"] == "qwen2_moe"
    readers = ("mlp.gate", "mlp.shared_expert_gate") if shared else ("mlp.gate",)
    mixture = mixture_sites(
        "mlp.experts",
        deepseek.PROJECTIONS,
        _count(config),
        "post_attention_layernorm",
        readers,
        "mlp.shared_expert" if shared else None,
    )
    return (attention, out, *mixture)


def _count(config: dict[str, Any]) -> int:
    """Experts of a block, by the key of the hub's configs or that of transformers."""
    found = config.get("num_experts") or config.get("num_local_experts")
    if not found:
        raise UserError("config.json lacks the key 'num_experts': add it")
    return int(found)


ADAPTER = Adapter(
    name="qwen_moe",
    blocks="model.layers",
    embedding="model.embed_tokens",
    final_norm="model.norm",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("self_attn.o_proj", "*.down_proj"),
    excluded={"*.mlp.gate.weight": ROUTER, "*.mlp.shared_expert_gate.weight": "one row: it weighs an expert"},
)
