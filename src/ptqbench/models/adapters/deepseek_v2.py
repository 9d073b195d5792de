"""DeepSeek-V2: latent attention (arXiv 2405.04434, section 2.1), dense first blocks, shared and routed experts."""

from __future__ import annotations

from typing import Any

from ptqbench.errors import UserError
from ptqbench.models.adapter import Adapter, Producer, Site
from ptqbench.models.adapters import deepseek, llama

MODEL_TYPES = ("deepseek_v2",)
STRUCTURE = "mixture of experts"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Queries and the latent read the stream; both may pass a norm of their own on the way to their heads.

    ``o_proj`` reads the values of ``kv_b_proj``: each head's rows after ``qk_nope_head_dim`` rows of keys.
    Raises :class:`UserError` for ``norm_topk_prob``, which transformers does not compute.
    """
    if config.get("norm_topk_prob"):
        raise UserError(
            "config.json: norm_topk_prob is true, which transformers does not compute for models of type "
            "'deepseek_v2': set it to false if the model was trained so, or choose another model"
        )
    low_rank = config.get("q_lora_rank") is not None
    query = "self_attn.q_a_proj" if low_rank else "self_attn.q_proj"
    attention = [
        Site(
            "attention",
            (query, "self_attn.kv_a_proj_with_mqa"),
            Producer("norm", "input_layernorm"),
            reads_stream=True,
        ),
        Site("latent", ("self_attn.kv_b_proj",), Producer("norm", "self_attn.kv_a_layernorm")),
        Site(
            "attention_out",
            ("self_attn.o_proj",),
            Producer("value", "self_attn.kv_b_proj", skip=int(config["qk_nope_head_dim"])),
        ),
    ]
    if low_rank:
        attention.insert(1, Site("query", ("self_attn.q_b_proj",), Producer("norm", "self_attn.q_a_layernorm")))
    return (*attention, *deepseek.experts(config, block, llama.sites(config, block)[2:]))


ADAPTER = Adapter(
    name="deepseek_v2",
    blocks="model.layers",
    embedding="model.embed_tokens",
    final_norm="model.norm",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("self_attn.o_proj", "*.down_proj"),
    excluded=deepseek.ADAPTER.excluded,
    needs=("num_hidden_layers", "hidden_size", "num_attention_heads", "n_routed_experts", "qk_nope_head_dim"),
)
