"""The values of a ``config.json`` that are read before transformers is: counts within limits, names that are known."""

from __future__ import annotations

from typing import Any

from ptqbench.errors import UserError
from ptqbench.outside import shown

Limits = tuple[int, int]

# the least and the most that a count may be; no model has a hundredth of the most
COUNTS: dict[str, Limits] = {
    **dict.fromkeys(("num_hidden_layers", "moe_layer_freq", "decoder_sparse_step"), (1, 1 << 12)),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "num_heads", "n_groups"), (1, 1 << 16)),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok"), (1, 1 << 14)),
    **dict.fromkeys(("n_shared_experts", "first_k_dense_replace"), (0, 1 << 12)),
    **dict.fromkeys(("hidden_size", "intermediate_size", "moe_intermediate_size", "head_dim"), (1, 1 << 24)),
    **dict.fromkeys(
        ("q_lora_rank", "kv_lora_rank", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim"), (1, 1 << 24)
    ),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "state_size", "chunk_size"), (1, 1 << 31)),
    **dict.fromkeys(("image_size", "patch_size", "image_seq_length"), (1, 1 << 16)),
    **dict.fromkeys(("image_token_index",), (0, 1 << 31)),
}
DTYPES = ("float64", "float32", "float16", "bfloat16")
NESTED = ("text_config", "vision_config", "llm_cfg", "vision_tower_cfg", "mm_projector_cfg")


def check_settings(config: dict[str, Any], what: str) -> None:
    """Refuse values that no model has, in ``config`` and the configs inside it; ``what`` begins the message."""
    for key, (least, most) in COUNTS.items():
        value = config.get(key)
        if value is not None and not (type(value) is int and least <= value <= most):
            raise UserError(f"{what} has {key} {shown(value)}, no integer from {least} to {most}: correct it")
    for key in ("model_type", "dtype", "torch_dtype"):
        value = config.get(key)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{what} has {key} {shown(value)}, no name: correct it")
        if key != "model_type" and value is not None and value not in DTYPES:
            raise UserError(f"{what} has {key} {shown(value)}, none of {', '.join(DTYPES)}: correct it")
    rank = config.get("time_step_rank", "auto")
    if rank != "auto" and not (type(rank) is int and 1 <= rank < 1 << 24):
        raise UserError(f"{what} has time_step_rank {shown(rank)}, neither 'auto' nor an integer: correct it")
    dense = config.get("mlp_only_layers") or []
    if not isinstance(dense, list) or not all(type(block) is int for block in dense):
        raise UserError(f"{what} has mlp_only_layers {shown(dense)}, no list of blocks: correct it")
    for key in NESTED:
        inner = config.get(key)
        if inner is None or isinstance(inner, str):
            continue  # VILA's own config may name the folder of a part
        if not isinstance(inner, dict):
            raise UserError(f"{what} has {key} {shown(inner)}, where an object is meant: correct it")
        check_settings(inner, f"{what}: {key}")


def context(text_config: dict[str, Any]) -> int | None:
    """The positions that a language model was made for, stretched ones included; None for one without any."""
    longest = text_config.get("max_position_embeddings")
    if longest is None:
        return None
    rope = text_config.get("rope_parameters") or text_config.get("rope_scaling")
    factor = rope.get("factor") if isinstance(rope, dict) else None
    if isinstance(factor, int | float) and 1 <= factor < 1 << 12:
        original = rope.get("original_max_position_embeddings", longest) if isinstance(rope, dict) else longest
        stretched = factor * original if isinstance(original, int) else longest
        return max(int(longest), int(stretched))
    return int(longest)
