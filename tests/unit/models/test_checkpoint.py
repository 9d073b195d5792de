"""A model folder's tensors under the names of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file

from ptqbench.errors import UserError
from ptqbench.models.adapter import adapter_name, load_adapter
from ptqbench.models.checkpoint import Checkpoint


def test_blocks_and_the_rest_are_all_there_is(tiny_model: Path) -> None:
    checkpoint = Checkpoint(tiny_model)
    tensors = load_file(tiny_model / "model.safetensors")
    assert checkpoint.n_blocks == tiny.BLOCKS
    assert checkpoint.dtype == torch.bfloat16
    adapter = checkpoint.adapter
    outside = {f"{name}.weight" for name in (adapter.embedding, adapter.final_norm, adapter.head)}
    blocks = {
        adapter.prefix(i) + name: tensor for i in range(tiny.BLOCKS) for name, tensor in checkpoint.block(i).items()
    }
    assert outside | set(blocks) == set(tensors)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in blocks.items())


def test_ten_blocks_or_more_do_not_mix(tmp_path: Path) -> None:
    """``layers.1.`` is not a prefix of ``layers.10.``."""
    from transformers import LlamaForCausalLM

    config = tiny.model().config
    config.num_hidden_layers = 11
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    checkpoint = Checkpoint(tmp_path)
    assert set(checkpoint.block(1)) == set(checkpoint.block(10))


def test_families_are_found_by_their_type() -> None:
    assert adapter_name({"model_type": "qwen3"}, "x") == "llama"
    least = {"model_type": "mistral", "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1}
    assert load_adapter(least).name == "llama"
    for key in set(least) - {"model_type"}:
        with pytest.raises(UserError, match=f"^m: its config.json lacks the key '{key}': add it"):
            load_adapter({k: v for k, v in least.items() if k != key}, "m")
    with pytest.raises(UserError, match=r"^config: models\.m: .*model_type 'zebra'.*choose from .*qwen3.*, or add"):
        adapter_name({"model_type": "zebra"}, "config: models.m")
