"""GPT-NeoX and Pythia: LayerNorms, q, k and v of each head side by side in one matrix, GELU between the MLP's two."""

from __future__ import annotations

from typing import Any

from ptqbench.models.adapter import Adapter, Producer, Site

MODEL_TYPES = ("gpt_neox",)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Each head has the rows of its query and its key before those of its values."""
    width = int(config["hidden_size"]) // int(config["num_attention_heads"])
    fused = "attention.query_key_value"
    return (
        Site("attention", (fused,), Producer("norm", "input_layernorm"), reads_stream=True),
        Site("attention_out", ("attention.dense",), Producer("value", fused, skip=2 * width)),
        Site("mlp", ("mlp.dense_h_to_4h",), Producer("norm", "post_attention_layernorm"), reads_stream=True),
        Site("mlp_out", ("mlp.dense_4h_to_h",)),
    )


ADAPTER = Adapter(
    name="gpt_neox",
    blocks="gpt_neox.layers",
    embedding="gpt_neox.embed_in",
    final_norm="gpt_neox.final_layer_norm",
    head="embed_out",
    sites=sites,
    writers=("attention.dense", "mlp.dense_4h_to_h"),
)
