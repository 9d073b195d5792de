"""What checkpoints of others tell of themselves, what their bytes hold, and who reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from codes import write_packed

from ptqbench.errors import UserError
from ptqbench.formats import foreign
from ptqbench.formats.foreign import Told
from ptqbench.formats.layout import Layout
from ptqbench.models.headers import Header, read_config, read_headers

NVFP4 = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "weights": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
            "input_activations": {"num_bits": 4, "type": "float", "dynamic": "local"},
        }
    },
}
INTS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
MIXED = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"a": {"weights": INTS}, "b": {"weights": {**INTS, "num_bits": 8, "group_size": None}}},
}
GPTQ = {
    "quant_method": "gptq",
    "bits": 4,
    "group_size": 128,
    "desc_act": True,
    "meta": {"quantizer": ["gptqmodel:7.6.0"]},
}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            NVFP4,
            Told(
                "compressed-tensors nvfp4-pack-quantized, 4 bits in groups of 16, inputs of 4 bits, lm_head in float",
                (4,),
                16,
                "nvfp4",
            ),
        ),
        (MIXED, Told("compressed-tensors pack-quantized, 4 and 8 bits", (4, 8), None, "integer")),
        (GPTQ, Told("gptq, 4 bits in groups of 128, act-order, by gptqmodel:7.6.0", (4,), 128, "integer")),
        (
            {"quant_method": "awq", "bits": 4, "group_size": -1, "modules_to_not_convert": ["a", "b", "c"]},
            Told("awq, 4 bits per channel, a and 2 more in float", (4,), -1, "integer"),
        ),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            Told("fp8 in blocks, 8 bits in groups of 128", (8,), 128, "fp8"),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            Told("bitsandbytes nf4, 4 bits", (4,), None, None),
        ),
        ({"quant_method": "hqq"}, Told("hqq, bits unknown", (), None, None)),
    ],
)
def test_what_a_config_tells(settings: dict[str, Any], told: Told) -> None:
    assert foreign.told(settings) == told


@pytest.mark.parametrize(
    ("form", "layout", "parts"),
    [
        # bits of a code; of a scale, and of a zero-point, in groups of 32; gptq has an index a channel as well
        ("compressed_tensors", Layout(4, 32, True), 4 + 16 / 32),
        ("awq", Layout(4, 32, False), 4 + 20 / 32),
        ("compressed_tensors", Layout(8, -1, True, "int8"), 8),
    ],
)
def test_the_bytes_of_quantized_weights(
    tiny_model: Path, tmp_path: Path, form: str, layout: Layout, parts: float
) -> None:
    floats = read_headers(tiny_model, "tiny")
    headers = read_headers(write_packed(tiny_model, tmp_path / "packed", form, layout), "packed")
    stored, count = foreign.quantized(headers, floats)
    matrices = {name: one for name, one in floats.items() if name.endswith("_proj.weight")}
    assert count == sum(one.shape[0] * one.shape[1] for one in matrices.values())
    shapes = 16 * len(matrices) if any(name.endswith("weight_shape") for name in headers) else 0
    per_channel = 0 if layout.grouped else sum(2 * one.shape[0] for one in matrices.values())
    assert stored - shapes - per_channel == pytest.approx(parts * count / 8, abs=0)
    assert foreign.quantized(floats, floats) == (0, 0)


def test_an_untied_head_is_no_quantized_weight() -> None:
    def header(dtype: str, *shape: int) -> Header:
        return Header(Path("model.safetensors"), dtype, shape)

    floats = {"embed.weight": header("BF16", 8, 4), "q.weight": header("BF16", 4, 4)}
    own = {
        "embed.weight": header("F32", 8, 4),
        "lm_head.weight": header("BF16", 8, 4),
        "q.weight": header("F8_E4M3", 4, 4),
        "q.weight_scale": header("BF16", 4, 1),
        "rotary_emb.inv_freq": header("F32", 2),
    }
    assert foreign.quantized(own, floats) == (16 + 8, 16)


@pytest.mark.parametrize(
    ("method", "backend", "said"),
    [
        ("modelopt", "transformers", "set backend to vllm-cuda, there or for the suite"),
        ("fp8", "vllm-cpu", "set backend to transformers or vllm-cuda, there or for the suite"),
        ("exl3", "vllm-cuda", "leave it out"),
        ("auto-round", "transformers", "the package auto_round, and this Python has none: install it, or set backend"),
    ],
)
def test_who_reads_what(method: str, backend: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        foreign.check_read(method, backend, "x", "perplexity")
    assert str(error.value).count("\n") == 0
    foreign.check_read("compressed-tensors", backend, "x", "perplexity")


def test_a_config_without_a_method(tiny_model: Path) -> None:
    config = read_config(tiny_model, "tiny")
    with pytest.raises(UserError, match="a float model belongs under models"):
        foreign.settings_of(config, "x")
    with pytest.raises(UserError, match="names no quant_method"):
        foreign.settings_of({**config, "quantization_config": {"bits": 4}}, "x")
