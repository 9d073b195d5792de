"""Floats that we store, the format's own library reads: the same weight, bit for bit; and so does our own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from formats_of_numbers import NAMES
from safetensors.torch import save_file
from small_problems import make_problem

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats import complete, compressed_floats, compressed_tensors
from ptqbench.formats.decompress import dense
from ptqbench.formats.layout import Layout
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.rounding.gptq import Gptq
from ptqbench.numbers.grid import make

STORED = [name for name in NAMES if name in compressed_floats.STORED]


def quantized(name: str) -> QuantizedLinear:
    grid = make(name, 0, 0, True)
    problem = make_problem(128, 256, grid, dtype=torch.float32)
    problem.weight[0] *= 1e-4  # scales far below the largest
    problem.weight[1, :64] = 0
    rounded = Gptq().round_site(problem)
    shared = grid.shared(rounded.scale)
    return SiteBasis().attach("q", rounded.codes, rounded.scale, rounded.zero, grid, shared)


def config(name: str) -> dict[str, Any]:
    grid = make(name, 0, 0, True)
    return compressed_tensors.settings(Layout(grid.bits, grid.group_size, True, number=name), ["lm_head"])


@pytest.mark.parametrize("name", STORED)
def test_its_own_decompressor_reads_the_same_weight(name: str) -> None:
    linear, settings = quantized(name), config(name)
    parsed = QuantizationConfig.model_validate(settings)
    local = {key.removeprefix("q."): tensor for key, tensor in compressed_floats.tensors("q", linear).items()}
    compressor = BaseCompressor.get_value_from_registry(parsed.format)
    scheme = parsed.config_groups["group_0"]
    assert set(local) <= set(compressor.compression_param_names(scheme))
    weight = compressor.decompress(local, scheme)["weight"].float()
    expected = linear.dequantize()
    if name.startswith("fp8"):  # of float32 scales that library makes bfloat16 products
        torch.testing.assert_close(weight, expected, rtol=2**-7, atol=0)
    else:
        assert torch.equal(weight, expected)
    assert expected.abs().max() > 0


@pytest.mark.parametrize("name", STORED)
def test_a_checkpoint_is_read_back_to_the_bit_and_lacks_nothing(name: str, tmp_path: Path) -> None:
    linear, settings = quantized(name), config(name)
    tensors = compressed_floats.tensors("model.q", linear)
    save_file(tensors, tmp_path / "model.safetensors")
    (key, weight, packed), *rest = [one for one in dense(tmp_path, settings, torch.device("cpu")) if one[2]]
    assert (key, packed, rest) == ("model.q.weight", True, [])
    assert torch.equal(weight, linear.dequantize())
    parts = {key.rpartition(".")[2] for key in tensors}
    assert parts == complete.packed_parts(settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_keeps_a_linear_as_it_is(name: str) -> None:
    linear = quantized(name)
    again = QuantizedLinear.from_state(linear.state("q"), "q", "attention")
    assert torch.equal(again.dequantize(), linear.dequantize())
    assert (again.number, again.bits, again.own_bits) == (name, linear.bits, linear.own_bits)
    assert torch.equal(again.codes, linear.codes)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STORED])
def test_what_no_format_holds_is_refused(name: str) -> None:
    layout = Layout(6, 32, True, number=name)
    assert name in str(compressed_tensors.refuses(quantized(name), layout))
