"""Phi-3, Phi-3.5 and Phi-4: Llama's block with q, k and v in one matrix, and gate and up in another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Producer, Site
from ptqbench.models.adapters import llama

MODEL_TYPES = ("phi3",)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Values are the last rows of ``qkv_proj``, and ``up`` is the second half of ``gate_up_proj``."""
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or config["hidden_size"] // heads)
    values = (heads + int(config.get("num_key_value_heads") or heads)) * width
    attention, out, mlp, mlp_out = llama.sites(config, block)
    up = Producer("linear", "mlp.gate_up_proj", first=int(config["intermediate_size"]))
    return (
        replace(attention, linears=("self_attn.qkv_proj",)),
        replace(out, producer=Producer("value", "self_attn.qkv_proj", first=values)),
        replace(mlp, linears=("mlp.gate_up_proj",)),
        replace(mlp_out, producer=up),
    )


ADAPTER = replace(
    llama.ADAPTER,
    name="phi3",
    sites=sites,
    needs=("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"),
)
