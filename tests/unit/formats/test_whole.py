"""Whole checkpoints: every weight that another reader takes from them is the dense twin's, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reference.packed as reader
import tiny
import torch
from codes import write_packed
from compressed_tensors.compressors import IntQuantizationCompressor
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from ptqbench.formats.layout import Layout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("source") / "model")


def twin(source: Path, folder: Path, layout: Layout) -> dict[str, Tensor]:
    """The dequantized weights; activations are another matter."""
    plain = Layout(layout.bits, layout.group_size, layout.symmetric)
    return load_file(write_packed(source, folder / "twin", "dense", plain) / "model.safetensors")


@pytest.mark.parametrize(
    "layout",
    [*(Layout(bits, 32, symmetric) for bits in (2, 3, 4, 8) for symmetric in (False, True)), Layout(4, -1, False)],
    ids=str,
)
def test_transformers_loads_compressed_tensors(source: Path, tmp_path: Path, layout: Layout) -> None:
    folder = write_packed(source, tmp_path / "packed", "compressed_tensors", layout)
    plain = CompressedTensorsConfig(run_compressed=False)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, quantization_config=plain).state_dict()
    expected = twin(source, tmp_path, layout)
    assert {name for name in expected if name.endswith("weight")} <= set(loaded)
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name


def test_the_librarys_own_reader_of_int8(source: Path, tmp_path: Path) -> None:
    layout = Layout(8, -1, True, "int8")
    folder = write_packed(source, tmp_path / "packed", "compressed_tensors", layout)
    stored, expected = load_file(folder / "model.safetensors"), twin(source, tmp_path, layout)
    described = json.loads((folder / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(described).config_groups["group_0"]
    assert scheme.input_activations is not None
    assert scheme.input_activations.num_bits == 8
    names = [name.removesuffix("_scale") for name in stored if name.endswith("weight_scale")]
    assert len(names) == 7 * tiny.BLOCKS
    for name in names:
        local = {key.removeprefix(name[:-6]): tensor for key, tensor in stored.items() if key.startswith(name)}
        assert torch.equal(IntQuantizationCompressor.decompress(local, scheme)["weight"], expected[name]), name


@pytest.mark.parametrize(
    ("form", "layout"),
    [
        ("gptq", Layout(4, 32, True, zeros="v1")),
        ("gptq", Layout(3, 32, False, zeros="v2")),
        ("awq", Layout(4, 32, False)),
    ],
    ids=str,
)
def test_scalar_readers(source: Path, tmp_path: Path, form: str, layout: Layout) -> None:
    folder = write_packed(source, tmp_path / "packed", form, layout)
    stored, expected = load_file(folder / "model.safetensors"), twin(source, tmp_path, layout)
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert settings["quant_method"] == form
    packed = {name.removesuffix(".qweight") for name in stored if name.endswith(".qweight")}
    assert len(packed) == 7 * tiny.BLOCKS
    for name, tensor in expected.items():
        linear = name.removesuffix(".weight")
        if linear not in packed:
            assert torch.equal(stored[name], tensor), "what is not quantized is copied"
            continue
        local = {key.removeprefix(f"{linear}."): part for key, part in stored.items() if key.startswith(f"{linear}.")}
        if form == "gptq":
            found = reader.gptq(local, settings["bits"], settings["checkpoint_format"], tensor.dtype)
        else:
            found = reader.awq(local, tensor.dtype)
        assert torch.equal(found, tensor), name
