"""The models of the paper at full size, on the meta device: every matrix is accounted for, and groups of 128 fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from ptqbench.checks import check_groups
from ptqbench.models.adapter import load_adapter, reason_for_float
from ptqbench.models.vila import Vila

VICUNA = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008}
VICUNA |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128}
SHEARED = {
    **VICUNA,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_attention_heads": 20,
    "num_key_value_heads": 20,
}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
CLIP |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768}
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
SIGLIP |= {"num_attention_heads": 16, "image_size": 384, "patch_size": 14}
MAMBA = {"model_type": "mamba", "vocab_size": 50280, "state_size": 16}
MODELS: dict[str, tuple[dict[str, Any], float, float]] = {  # config, weights in 1e9, share of them quantized
    "mamba-1.4b": ({**MAMBA, "hidden_size": 2048, "num_hidden_layers": 48, "time_step_rank": 128}, 1.37, 0.92),
    "mamba-2.8b": ({**MAMBA, "hidden_size": 2560, "num_hidden_layers": 64, "time_step_rank": 160}, 2.77, 0.93),
    "llava-1.5-7b": ({"model_type": "llava", "text_config": VICUNA, "vision_config": CLIP}, 7.06, 0.91),
    "vila-1.5-3b": (
        {
            "model_type": "llava_llama",
            "llm_cfg": SHEARED,
            "vision_tower_cfg": SIGLIP,
            "mm_projector_cfg": {"mm_projector_type": "mlp_downsample"},
        },
        3.14,
        0.80,
    ),
}


def shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a model's parameters; a tied head is none."""
    with torch.device("meta"):
        if config["model_type"] == "llava_llama":
            model: Any = Vila.from_config(config)
        else:
            settings = AutoConfig.for_model(**config)
            auto = AutoModelForImageTextToText if "text_config" in config else AutoModelForCausalLM
            model = auto.from_config(settings)
            model.tie_weights()
    for name, parameter in model.named_parameters():
        yield name, tuple(parameter.shape)


@pytest.mark.parametrize("name", MODELS)
def test_every_matrix_is_accounted_for(name: str) -> None:
    config, billions, share = MODELS[name]
    found = dict(shapes(config))
    adapter = load_adapter(config).named_as(found)
    linears = {
        f"{adapter.prefix(block)}{linear}.weight"
        for block in range(adapter.n_blocks(config))
        for site in adapter.sites(config, block)
        for linear in site.linears
    }
    assert linears <= set(found)
    matrices = {name for name, shape in found.items() if len(shape) > 1}
    assert all(reason_for_float(adapter, left) for left in matrices - linears)
    weights = {name: torch.Size(shape).numel() for name, shape in found.items()}
    assert sum(weights.values()) / 1e9 == pytest.approx(billions, rel=0.01)
    assert sum(weights[name] for name in linears) / sum(weights.values()) == pytest.approx(share, abs=0.01)
    check_groups("w4g128", 128, name, {name: found[name] for name in linears})
