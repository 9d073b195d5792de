"""DeepSeekMoE written out token by token in float64, from the paper's equations and the hub's tensor names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def logits(tensors: Tensors, config: dict[str, Any], tokens: Tensor) -> Tensor:
    """Logits ``[length, vocabulary]`` of one sequence."""
    weights = {name: tensor.double() for name, tensor in tensors.items()}
    stream = [weights["model.embed_tokens.weight"][token] for token in tokens]
    for index in range(config["num_hidden_layers"]):
        block = {
            name.removeprefix(f"model.layers.{index}."): tensor
            for name, tensor in weights.items()
            if name.startswith(f"model.layers.{index}.")
        }
        normed = [norm(x, block["input_layernorm.weight"], config) for x in stream]
        stream = [x + out for x, out in zip(stream, attention(normed, block, config), strict=True)]
        for position, x in enumerate(stream):
            read = norm(x, block["post_attention_layernorm.weight"], config)
            stream[position] = x + feed_forward(read, block, config, index)
    head = weights["lm_head.weight"]
    return torch.stack([head @ norm(x, weights["model.norm.weight"], config) for x in stream])


def norm(x: Tensor, gamma: Tensor, config: dict[str, Any]) -> Tensor:
    return gamma * x / (x.square().mean() + config["rms_norm_eps"]).sqrt()


def rotate(x: Tensor, position: int, theta: float) -> Tensor:
    """Rotary embedding of one head: channel i turns with channel i + width / 2."""
    half = len(x) // 2
    out = x.clone()
    for i in range(half):
        angle = torch.tensor(position * theta ** (-2 * i / len(x)), dtype=torch.float64)
        out[i] = x[i] * angle.cos() - x[i + half] * angle.sin()
        out[i + half] = x[i + half] * angle.cos() + x[i] * angle.sin()
    return out


def attention(rows: list[Tensor], block: Tensors, config: dict[str, Any]) -> list[Tensor]:
    heads, kv_heads, width = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    theta = config["rope_parameters"]["rope_theta"]

    def split(name: str, count: int) -> list[list[Tensor]]:
        return [list((block[f"self_attn.{name}.weight"] @ row).view(count, width)) for row in rows]

    queries, keys, values = split("q_proj", heads), split("k_proj", kv_heads), split("v_proj", kv_heads)
    out = []
    for t in range(len(rows)):
        mixed = []
        for head in range(heads):
            own = head // (heads // kv_heads)
            query = rotate(queries[t][head], t, theta)
            scores = torch.stack([query @ rotate(keys[s][own], s, theta) for s in range(t + 1)]) / width**0.5
            share = scores.softmax(0)
            mixed.append(sum(share[s] * values[s][own] for s in range(t + 1)))
        out.append(block["self_attn.o_proj.weight"] @ torch.cat(mixed))
    return out


def feed_forward(x: Tensor, block: Tensors, config: dict[str, Any], index: int) -> Tensor:
    if index < config["first_k_dense_replace"]:
        return mlp(x, block, "mlp")
    probabilities = (block["mlp.gate.weight"] @ x).softmax(0)
    chosen = sorted(range(len(probabilities)), key=lambda e: -probabilities[e].item())[: config["num_experts_per_tok"]]
    total = sum(probabilities[e].item() for e in chosen) if config["norm_topk_prob"] else 1.0
    out = mlp(x, block, "mlp.shared_experts")
    for expert in chosen:
        out = out + probabilities[expert] / total * mlp(x, block, f"mlp.experts.{expert}")
    return out


def mlp(x: Tensor, block: Tensors, name: str) -> Tensor:
    gate, up = block[f"{name}.gate_proj.weight"] @ x, block[f"{name}.up_proj.weight"] @ x
    return block[f"{name}.down_proj.weight"] @ (gate * gate.sigmoid() * up)
