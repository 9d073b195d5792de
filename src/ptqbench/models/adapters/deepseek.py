"""DeepSeekMoE (the first DeepSeek mixture): Llama's attention, dense first blocks, shared and routed experts."""

from __future__ import annotations

from typing import Any

from ptqbench.errors import UserError
from ptqbench.models.adapter import Adapter, Site
from ptqbench.models.adapters import llama
from ptqbench.models.mixture import ROUTER, mixture_sites

MODEL_TYPES = ("deepseek",)
STRUCTURE = "mixture of experts"
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def is_sparse(config: dict[str, Any], block: int) -> bool:
    """Whether a block has experts: the first ones do not."""
    first, every = int(config.get("first_k_dense_replace", 0)), int(config.get("moe_layer_freq") or 1)
    return block >= first and block % every == 0


def experts(config: dict[str, Any], block: int, dense: tuple[Site, ...]) -> tuple[Site, ...]:
    """The sites of a block's MLP: ``dense`` ones, or the mixture."""
    if not is_sparse(config, block):
        return dense
    shared = "mlp.shared_experts" if config.get("n_shared_experts") else None
    n_experts = int(config["n_routed_experts"])
    norm = "post_attention_layernorm"
    return mixture_sites("mlp.experts", PROJECTIONS, n_experts, norm, ("mlp.gate",), shared)


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Attention as in Llama, then the dense MLP or the experts.

    Raises :class:`UserError` for another routing than softmax.
    """
    if config.get("scoring_func", "softmax") != "softmax":
        raise UserError(
            f"config.json: scoring_func is '{config['scoring_func']}', and models of type 'deepseek' are run with "
            "softmax routing only: choose another model"
        )
    attention, out, *mlp = llama.sites(config, block)
    return (attention, out, *experts(config, block, tuple(mlp)))


ADAPTER = Adapter(
    name="deepseek",
    blocks="model.layers",
    embedding="model.embed_tokens",
    final_norm="model.norm",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("self_attn.o_proj", "*.down_proj"),
    excluded={"*.mlp.gate.weight": ROUTER},
    needs=("num_hidden_layers", "hidden_size", "num_attention_heads", "n_routed_experts"),
)
