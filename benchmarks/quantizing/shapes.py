"""Models of random weights whose layers have a known model's shapes."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA = {"model_type": "llama", "tie_word_embeddings": False, "max_position_embeddings": 8192, "rope_theta": 500000.0}
SHAPES: dict[str, tuple[int, dict[str, Any]]] = {  # layers of the whole model, and its config
    "llama3-8b": (32, {**LLAMA, "hidden_size": 4096, "intermediate_size": 14336}),
    "llama3-70b": (80, {**LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64}),
    "mixtral-8x7b": (32, {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336}),
    "tiny": (2, {**LLAMA, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}),
    "tiny-mixtral": (
        2,
        {"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4},
    ),
}


def make_model(folder: Path, config: dict[str, Any], layers: int, device: torch.device | None) -> None:
    """A model folder with normal weights (0.02) and norms of one, bfloat16, one file a block.

    Without a device, folders of the same sizes, whose weights are holes in their files: to plan with, and no more.
    """
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    if config.get("num_attention_heads") == 4:
        heads = {"num_key_value_heads": 2}
    made = AutoConfig.for_model(**{**heads, **config, "num_hidden_layers": layers, "vocab_size": 8192})
    made.architectures, made.dtype = None, "bfloat16"
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16).state_dict()
    folder.mkdir(parents=True)
    made.save_pretrained(folder)
    files: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, shape in checkpoint_shapes(shapes).items():
        part = name.split(".layers.")[1].split(".")[0] if ".layers." in name else "outside"
        files[part][name] = shape
    torch.manual_seed(0)
    for part, tensors in files.items():
        file = folder / f"model-{part}.safetensors"
        if device is None:
            write_holes(file, tensors)
        else:
            weights = {name: random_weight(shape, device) for name, shape in tensors.items()}
            save_file(weights, file, metadata={"format": "pt"})
    index = {name: f"model-{part}.safetensors" for part, tensors in files.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def random_weight(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A matrix of normal numbers, or a norm of ones."""
    made = torch.randn(shape, device=device) * 0.02 if len(shape) > 1 else torch.ones(shape)
    return made.to("cpu", torch.bfloat16)


def write_holes(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file with a header, and nothing behind it that takes room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    written = json.dumps(header).encode()
    with open(file, "wb") as stream:
        stream.write(len(written).to_bytes(8, "little") + written)
        stream.truncate(8 + len(written) + end)


def checkpoint_shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes under the names of a checkpoint: Mixtral's experts are fused in the model, and one by one on disk."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in tensors.items():
        place, _, fused = name.partition(".mlp.experts.")
        if not fused:
            found[name.replace(".mlp.gate.", ".block_sparse_moe.gate.")] = tuple(tensor.shape)
            continue
        leaves, (experts, m, n) = ("w2",) if fused == "down_proj" else ("w1", "w3"), tensor.shape
        for expert, leaf in product(range(experts), leaves):
            found[f"{place}.block_sparse_moe.experts.{expert}.{leaf}.weight"] = (m // len(leaves), n)
    return found
