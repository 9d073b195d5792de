"""DeepSeekMoE's class against its equations, and through the hub's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference import deepseek as reference
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from ptqbench.errors import UserError
from ptqbench.models.adapters import deepseek
from ptqbench.models.deepseek import DeepseekForCausalLM
from ptqbench.models.experts import NAME, make_watchable


def make(folder: Path, **settings: object) -> DeepseekForCausalLM:
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 29}
    mixture = {"n_routed_experts": 6, "n_shared_experts": 2, "num_experts_per_tok": 3}
    config = AutoConfig.for_model("deepseek", **shape, **heads, **mixture, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("normalized", [False, True])
def test_logits_are_those_of_the_equations(tmp_path: Path, normalized: bool) -> None:
    model = make(tmp_path, norm_topk_prob=normalized)
    model.set_experts_implementation("eager")  # the default takes no float64
    tokens = torch.randint(0, 29, (7,), generator=torch.Generator().manual_seed(4))
    expected = reference.logits(load_file(tmp_path / "model.safetensors"), model.config.to_dict(), tokens)
    with torch.no_grad():
        found = model(input_ids=tokens.unsqueeze(0)).logits[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # rotary angles and the router are in float32


def test_checkpoints_have_the_hubs_names_and_load_again(tmp_path: Path) -> None:
    model = make(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    routed = {f"model.layers.1.mlp.experts.{e}.{p}_proj.weight" for e in range(6) for p in ("gate", "up", "down")}
    shared = {f"model.layers.1.mlp.shared_experts.{p}_proj.weight" for p in ("gate", "up", "down")}
    assert routed | shared | {"model.layers.1.mlp.gate.weight", "model.layers.0.mlp.up_proj.weight"} <= names
    assert not any("gate_up" in name for name in names)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert isinstance(again, DeepseekForCausalLM)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_its_experts_are_dispatched_even_after_a_llama_was_asked() -> None:
    LlamaForCausalLM._can_set_experts_implementation()
    config = AutoConfig.for_model("deepseek", num_hidden_layers=1, first_k_dense_replace=0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    make_watchable(model)
    assert model.config._experts_implementation == NAME


def test_routing_that_is_not_softmax_is_refused_by_name() -> None:
    config = {"model_type": "deepseek", "scoring_func": "sigmoid"}
    with pytest.raises(UserError, match="scoring_func is 'sigmoid'"):
        deepseek.ADAPTER.sites(config, 0)
