"""OPT: LayerNorms, learned positions, and ReLU between the MLP's two matrices, which lets scales through."""

from __future__ import annotations

from typing import Any

from ptqbench.errors import UserError
from ptqbench.models.adapter import Adapter, Producer, Site

MODEL_TYPES = ("opt",)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """The same in every block. Raises :class:`UserError` for the 350M, whose norms follow and whose embedding is
    narrower than the stream."""
    if not config.get("do_layer_norm_before", True) or config.get("word_embed_proj_dim") not in (
        None,
        config["hidden_size"],
    ):
        raise UserError("an OPT whose norms come after its sublayers (350m) is not described: choose another size")
    activation = config.get("activation_function", "relu")
    heads = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    return (
        Site("attention", heads, Producer("norm", "self_attn_layer_norm"), reads_stream=True),
        Site("attention_out", ("self_attn.out_proj",), Producer("value", "self_attn.v_proj")),
        Site("mlp", ("fc1",), Producer("norm", "final_layer_norm"), reads_stream=True),
        Site("mlp_out", ("fc2",), Producer("linear", "fc1") if activation == "relu" else None),
    )


ADAPTER = Adapter(
    name="opt",
    blocks="model.decoder.layers",
    embedding="model.decoder.embed_tokens",
    final_norm="model.decoder.final_layer_norm",
    head="lm_head",
    sites=sites,
    writers=("self_attn.out_proj", "fc2"),
    excluded={"*.embed_positions.weight": "the positions are a table"},
    beside=("model.decoder.embed_positions",),
)
