"""The models of the paper at full size, on the meta device: every matrix is accounted for under the hub's name.

The configs are those of the hub, as far as a shape depends on them; what is expected is arithmetic on the architecture,
without the code of the adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from tiny_models import STATISTICS
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.core_model_loading import revert_weight_conversion

from ptqbench.artifacts.linear import QuantizedLinear, packed_bytes
from ptqbench.errors import UserError
from ptqbench.model_checks import check_groups
from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.models.adapter import Adapter, load_adapter, reason_for_float
from ptqbench.models.collect import watching
from ptqbench.models.vila import Vila

VICUNA = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008}
VICUNA |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32}
SHEARED = {**VICUNA, "hidden_size": 2560, "intermediate_size": 6912, "num_attention_heads": 20}
SHEARED |= {"num_key_value_heads": 20}
LLAMA_30B = {**VICUNA, "hidden_size": 6656, "intermediate_size": 17920, "num_hidden_layers": 60}
LLAMA_30B |= {"num_attention_heads": 52, "num_key_value_heads": 52}
LLAMA_65B = {**VICUNA, "hidden_size": 8192, "intermediate_size": 22016, "num_hidden_layers": 80}
LLAMA_65B |= {"num_attention_heads": 64, "num_key_value_heads": 64}
LLAMA_2_70B = {**LLAMA_65B, "intermediate_size": 28672, "num_key_value_heads": 8}
VICUNA_13B = {**VICUNA, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40}
VICUNA_13B |= {"num_attention_heads": 40, "num_key_value_heads": 40}
LLAMA_3 = {**VICUNA, "vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8}
MIXTRAL = {**LLAMA_3, "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
DEEPSEEK = {"hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408, "vocab_size": 102400}
DEEPSEEK |= {"num_attention_heads": 16, "num_key_value_heads": 16, "n_routed_experts": 64, "n_shared_experts": 2}
DEEPSEEK |= {"num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "norm_topk_prob": False}
LATENT = {"q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
MAMBA = {"model_type": "mamba", "vocab_size": 50280, "state_size": 16, "tie_word_embeddings": True}
MAMBA_2 = {"model_type": "mamba2", "vocab_size": 50288, "hidden_size": 2560, "num_hidden_layers": 64, "state_size": 128}
MAMBA_2 |= {"num_heads": 80, "head_dim": 64, "n_groups": 1, "expand": 2, "tie_word_embeddings": True}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
CLIP |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768}
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
SIGLIP |= {"num_attention_heads": 16, "image_size": 384, "patch_size": 14}
# LLaVA-1.5-7B does not write what is LlamaConfig's default
LLAVA = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}, "vision_config": CLIP}
VILA = {"model_type": "llava_llama", "llm_cfg": SHEARED, "vision_tower_cfg": SIGLIP}
LLAVA_13B = {"model_type": "llava", "text_config": {**VICUNA_13B, "vocab_size": 32064}, "vision_config": CLIP}
VILA |= {"mm_projector_cfg": {"mm_projector_type": "mlp_downsample"}}

PHI_4 = {"model_type": "phi3", "vocab_size": 100352, "hidden_size": 5120, "intermediate_size": 17920}
PHI_4 |= {"num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 10, "pad_token_id": 0}
GEMMA_2 = {"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336}
GEMMA_2 |= {"num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256}
GEMMA_3 = {"model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912}
GEMMA_3 |= {"num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256}
OLMO_2 = {**VICUNA, "model_type": "olmo2", "vocab_size": 100352}
GRANITE = {**LLAMA_3, "model_type": "granite", "vocab_size": 49159, "intermediate_size": 12800}
GRANITE |= {"num_hidden_layers": 40, "tie_word_embeddings": True}

DENSE_7B = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
DENSE_13B = 40 * (4 * 5120**2 + 3 * 5120 * 13824)
DENSE_3B = 32 * (4 * 2560**2 + 3 * 2560 * 6912)
GROUPED = 2 * 4096**2 + 2 * 1024 * 4096  # attention with 8 key-value heads of 128
EXPERTS = 3 * 2048 * (64 * 1408 + 2816)
FIRST = 3 * 2048 * 10944


@dataclass
class Model:
    """A config of the hub, and what must be found in it.

    ``widths``: inputs of the sites of the last block; ``beyond``: linears that groups of 128 do not divide.
    """

    config: dict[str, Any]
    billions: float  # weights in all
    quantized: int
    widths: list[int]
    names: list[str]
    beyond: dict[str, int] = field(default_factory=dict)
    tower: bool = False


WIDE_70B = 2 * 8192**2 + 2 * 1024 * 8192 + 3 * 8192 * 28672  # a block of Llama 2, 3 and 3.1 of that size

MODELS = {
    "llama-1-7b": Model(VICUNA, 6.74, DENSE_7B, [4096, 4096, 4096, 11008], ["model.layers.31.mlp.gate_proj"]),
    "llama-1-13b": Model(VICUNA_13B, 13.02, DENSE_13B, [5120, 5120, 5120, 13824], ["model.layers.39.mlp.up_proj"]),
    "llama-1-30b": Model(
        LLAMA_30B,
        32.53,
        60 * (4 * 6656**2 + 3 * 6656 * 17920),
        [6656, 6656, 6656, 17920],
        ["model.layers.59.self_attn.o_proj"],
    ),
    "llama-1-65b": Model(
        LLAMA_65B,
        65.29,
        80 * (4 * 8192**2 + 3 * 8192 * 22016),
        [8192, 8192, 8192, 22016],
        ["model.layers.79.mlp.down_proj"],
    ),
    "llama-2-70b": Model(
        LLAMA_2_70B, 68.98, 80 * WIDE_70B, [8192, 8192, 8192, 28672], ["model.layers.79.self_attn.v_proj"]
    ),
    "llama-3-70b": Model(
        {**LLAMA_2_70B, "vocab_size": 128256},
        70.55,
        80 * WIDE_70B,
        [8192, 8192, 8192, 28672],
        ["model.layers.0.self_attn.q_proj"],
    ),
    "llama-3-8b": Model(
        LLAMA_3,
        8.03,
        32 * (GROUPED + 3 * 4096 * 14336),
        [4096, 4096, 4096, 14336],
        ["model.layers.31.self_attn.k_proj", "model.layers.0.mlp.down_proj"],
    ),
    "phi-4": Model(
        PHI_4,
        14.66,
        40 * (5120 * (60 * 128) + 5120**2 + 3 * 5120 * 17920),
        [5120, 5120, 5120, 17920],
        ["model.layers.39.self_attn.qkv_proj", "model.layers.0.mlp.gate_up_proj"],
    ),
    "gemma-2-9b": Model(
        GEMMA_2,
        9.24,
        42 * (2 * 3584 * 4096 + 2 * 3584 * 2048 + 3 * 3584 * 14336),
        [3584, 4096, 3584, 14336],
        ["model.layers.41.self_attn.o_proj"],
    ),
    "gemma-3-1b": Model(
        GEMMA_3,
        1.00,
        26 * (2 * 1152 * 1024 + 2 * 1152 * 256 + 3 * 1152 * 6912),
        [1152, 1024, 1152, 6912],
        ["model.layers.25.mlp.down_proj"],
    ),
    "olmo-2-7b": Model(OLMO_2, 7.30, DENSE_7B, [4096, 4096, 4096, 11008], ["model.layers.31.self_attn.q_proj"]),
    "granite-3.3-8b": Model(
        GRANITE,
        8.17,
        40 * (GROUPED + 3 * 4096 * 12800),
        [4096, 4096, 4096, 12800],
        ["model.layers.39.mlp.up_proj"],
    ),
    "mixtral-8x7b": Model(
        MIXTRAL,
        46.70,
        32 * (GROUPED + 8 * 3 * 4096 * 14336),
        [4096, 4096, 4096] + 8 * [4096] + 8 * [14336],
        [f"model.layers.31.block_sparse_moe.experts.7.w{number}" for number in (1, 2, 3)],
    ),
    "deepseek-moe-16b": Model(
        {**DEEPSEEK, "model_type": "deepseek", "num_hidden_layers": 28, "scoring_func": "softmax"},
        16.38,
        28 * 4 * 2048**2 + FIRST + 27 * EXPERTS,
        [2048, 2048, 2048] + 64 * [2048] + [2816] + 64 * [1408],
        ["model.layers.27.mlp.experts.63.up_proj", "model.layers.1.mlp.shared_experts.gate_proj"],
        {"model.layers.0.mlp.down_proj.weight": 10944},
    ),
    "deepseek-v2-lite": Model(
        {**DEEPSEEK, **LATENT, "model_type": "deepseek_v2", "num_hidden_layers": 27},
        15.71,
        27 * (2048 * (16 * 192 + 576) + 512 * 16 * 256 + 2048**2) + FIRST + 26 * EXPERTS,
        [2048, 512, 2048, 2048] + 64 * [2048] + [2816] + 64 * [1408],
        ["model.layers.26.self_attn.kv_a_proj_with_mqa", "model.layers.0.mlp.up_proj"],
        {"model.layers.0.mlp.down_proj.weight": 10944},
    ),
    "mamba-1.4b": Model(
        {**MAMBA, "hidden_size": 2048, "num_hidden_layers": 48, "time_step_rank": 128},
        1.37,
        48 * (2048 * 8192 + 4096 * (128 + 32) + 128 * 4096 + 4096 * 2048),
        [2048, 4096, 128, 4096],
        ["backbone.layers.47.mixer.dt_proj"],
    ),
    "mamba-2.8b": Model(
        {**MAMBA, "hidden_size": 2560, "num_hidden_layers": 64, "time_step_rank": 160},
        2.77,
        64 * (2560 * 10240 + 5120 * (160 + 32) + 5120 * 2560),  # 160 inputs of dt_proj: in float
        [2560, 5120, 5120],
        ["backbone.layers.63.mixer.x_proj"],
    ),
    "mamba2-2.7b": Model(
        MAMBA_2,
        2.70,
        64 * (2560 * (2 * 5120 + 2 * 128 + 80) + 5120 * 2560),
        [2560, 5120],
        ["backbone.layers.63.mixer.in_proj", "backbone.layers.0.mixer.out_proj"],
    ),
    "llava-1.5-7b": Model(
        LLAVA, 7.06, DENSE_7B, [4096, 4096, 4096, 11008], ["language_model.model.layers.31.self_attn.q_proj"]
    ),
    "llava-1.5-13b": Model(
        LLAVA_13B, 13.35, DENSE_13B, [5120, 5120, 5120, 13824], ["language_model.model.layers.39.mlp.down_proj"]
    ),
    "llava-1.5-7b with its tower": Model(
        LLAVA,
        7.06,
        DENSE_7B + 24 * (4 * 1024**2 + 2 * 1024 * 4096),
        [4096, 4096, 4096, 11008],
        ["vision_tower.vision_model.encoder.layers.23.mlp.fc2", "language_model.model.layers.0.mlp.up_proj"],
        tower=True,
    ),
    "vila-1.5-13b": Model(
        {**VILA, "llm_cfg": VICUNA_13B},
        13.48,
        DENSE_13B,
        [5120, 5120, 5120, 13824],
        ["llm.model.layers.39.mlp.up_proj"],
    ),
    "llama-3-vila-1.5-8b": Model(
        {**VILA, "llm_cfg": {**LLAMA_3, "vocab_size": 128259}},
        8.49,
        32 * (GROUPED + 3 * 4096 * 14336),
        [4096, 4096, 4096, 14336],
        ["llm.model.layers.31.self_attn.k_proj"],
    ),
    "vila-1.5-3b": Model(VILA, 3.14, DENSE_3B, [2560, 2560, 2560, 6912], ["llm.model.layers.31.mlp.down_proj"]),
    "vila-1.5-3b with its tower": Model(
        VILA,
        3.14,
        DENSE_3B + 27 * (4 * 1152**2 + 1152 * 4304),  # 4304 inputs of fc2: in float
        [2560, 2560, 2560, 6912],
        ["vision_tower.vision_model.encoder.layers.26.self_attn.out_proj"],
        tower=True,
    ),
}


@cache
def on_meta(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A model, and its parameters under the names of the hub's checkpoint; a tied head is none."""
    config = MODELS[name].config
    with torch.device("meta"):
        if config["model_type"] == "llava_llama":
            model: Any = Vila.from_config(config, torch.bfloat16)
        else:
            auto = AutoModelForImageTextToText if "text_config" in config else AutoModelForCausalLM
            model = auto.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16)
            model.tie_weights()
    parameters = dict(model.named_parameters())
    if config["model_type"] != "llava_llama":
        parameters = revert_weight_conversion(model, parameters)
    before = "vision_tower."  # the level below it is the hub's; transformers 5 has dropped it
    deep = {
        n.replace(before, f"{before}vision_model.") if n.startswith(before) else n: p for n, p in parameters.items()
    }
    return model, deep


def adapter_of(name: str) -> Adapter:
    """As a checkpoint of the hub would be described."""
    model, (_, tensors) = MODELS[name], on_meta(name)
    adapter = load_adapter(model.config).named_as(tensors)
    return adapter.with_tower(model.config, tensors) if model.tower else adapter


def linears_of(name: str) -> Iterator[str]:
    config, adapter = MODELS[name].config, adapter_of(name)
    for block in range(adapter.n_blocks(config)):
        for site in adapter.sites(config, block):
            for linear in site.linears:
                yield f"{adapter.prefix(block)}{linear}.weight"


def text_blocks(module: Any) -> nn.ModuleList:
    """The blocks of the language model."""
    inside = module.llm.model if isinstance(module, Vila) else getattr(module, "model", None) or module.backbone
    return getattr(inside, "language_model", inside).layers


@pytest.mark.parametrize("name", MODELS)
def test_every_matrix_is_accounted_for(name: str) -> None:
    model, (_, tensors) = MODELS[name], on_meta(name)
    linears = list(linears_of(name))
    assert len(linears) == len(set(linears))
    assert set(linears) <= set(tensors)
    assert {f"{linear}.weight" for linear in model.names} <= set(linears)
    adapter = adapter_of(name)
    left = {key for key, tensor in tensors.items() if tensor.dim() > 1} - set(linears)
    assert all(reason_for_float(adapter, key) for key in left)
    assert sum(tensor.numel() for tensor in tensors.values()) / 1e9 == pytest.approx(model.billions, rel=0.005)
    assert sum(tensors[linear].numel() for linear in linears) == model.quantized


@pytest.mark.parametrize("name", MODELS)
def test_groups_of_128_divide_every_linear_but_those_that_are_stated(name: str) -> None:
    tensors = on_meta(name)[1]
    shapes = {linear: tuple(tensors[linear].shape) for linear in linears_of(name)}
    assert {linear: shape[1] for linear, shape in shapes.items() if shape[1] % 128} == MODELS[name].beyond
    if MODELS[name].beyond:
        with pytest.raises(UserError, match="does not divide the 10944 input channels"):
            check_groups("w4g128", {"group_size": 128}, name, shapes)
    check_groups("w4g64", {"group_size": 64}, name, shapes)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_packed_sizes(name: str, bits: int) -> None:
    """Codes, a 16-bit scale and a zero-point of so many bits for each group of 64."""
    tensors, found = on_meta(name)[1], 0
    for linear in linears_of(name):
        m, n = tensors[linear].shape
        codes, scale = torch.empty(m, n, device="meta", dtype=torch.uint8), torch.empty(m, n // 64, device="meta")
        zero = torch.empty_like(scale, dtype=torch.uint8)
        found += packed_bytes([QuantizedLinear(codes, scale, zero, bits, False)])
    assert found == pytest.approx(MODELS[name].quantized * (bits + (16 + bits) / 64) / 8, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_statistics_of_a_block_take(name: str) -> None:
    """Hessians in float32: whole while they are summed, on the GPU up to 16 GiB a block, and a half on disk."""
    model, (module, _) = MODELS[name], on_meta(name)
    adapter = adapter_of(name)
    last = adapter.n_blocks(model.config) - 1
    with watching(text_blocks(module)[-1], adapter.sites(model.config, last), STATISTICS) as found:
        held = sum(site.states[0]["sum"].nbytes for site in found.values())
        assert all(site.states[0]["sum"].is_meta for site in found.values()), "they stay on the device"
        stored = sum(t.nbytes for site in found.values() for key, t in site.finish("").items() if "hessian" in key)
    assert held == 4 * sum(width**2 for width in model.widths)
    assert stored == 4 * sum((width + 1) // 2 * (width + 1 - width % 2) for width in model.widths)


def test_the_statistics_of_mixtral_are_what_the_docs_say() -> None:
    widths = MODELS["mixtral-8x7b"].widths
    assert 2 * sum(width**2 for width in widths) / 1e9 == pytest.approx(3.66, abs=0.01)
