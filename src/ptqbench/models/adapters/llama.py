"""Llama-shaped decoders: LLaMA 1 to 3.2, Mistral, Qwen2 (q/k/v biases), Qwen3 (q/k norms), Granite (multipliers)."""

from __future__ import annotations

from typing import Any

from ptqbench.models.adapter import Adapter, Producer, Site

MODEL_TYPES = (
    "llama",
    "mistral",
    "ministral3",
    "qwen2",
    "qwen3",
    "granite",
    "smollm3",
    "seed_oss",
    "ernie4_5",
)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Four sites, the same in every block, in the order in which the block computes them."""
    return (
        Site(
            "attention",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            Producer("norm", "input_layernorm"),
            reads_stream=True,
        ),
        Site("attention_out", ("self_attn.o_proj",), Producer("value", "self_attn.v_proj")),
        Site("mlp", ("mlp.gate_proj", "mlp.up_proj"), Producer("norm", "post_attention_layernorm"), reads_stream=True),
        Site("mlp_out", ("mlp.down_proj",), Producer("linear", "mlp.up_proj")),
    )


ADAPTER = Adapter(
    name="llama",
    blocks="model.layers",
    embedding="model.embed_tokens",
    final_norm="model.norm",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("self_attn.o_proj", "mlp.down_proj"),
)
