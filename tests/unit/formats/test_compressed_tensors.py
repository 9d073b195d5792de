"""What we pack, the format's own library unpacks: the same weight, bit for bit."""

from __future__ import annotations

import pytest
import torch
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from small_problems import make_problem

from ptqbench.formats import compressed_tensors, dense
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.linear import QuantizedLinear
from ptqbench.quantize.orthogonal import kronecker
from ptqbench.rounding import gptq

SHAPES = [(8, 64), (5, 96)]


def quantized(m: int, n: int, bits: int, group_size: int, symmetric: bool) -> QuantizedLinear:
    grid = Grid(bits, group_size, symmetric)
    problem = make_problem(m, n, grid, dtype=torch.float32)
    problem.weight[0] = problem.weight[0].abs() + 0.1  # a zero-point at the end of its range
    problem.weight[1] *= -1e-7  # scales at float16's smallest normal
    rounded = gptq.round_site(problem, **gptq.DEFAULTS)
    codes, zero = rounded.codes.to(torch.uint8), rounded.zero.to(torch.uint8)
    return QuantizedLinear(codes, rounded.scale, zero, bits, symmetric)


def scheme(linear: QuantizedLinear, group_size: int) -> QuantizationScheme:
    described = {"bits": linear.bits, "group_size": group_size, "symmetric": linear.symmetric}
    config = compressed_tensors.settings(described, "none", ["lm_head"])
    parsed = QuantizationConfig.model_validate(config)
    assert parsed.format == compressed_tensors.FORMAT
    assert parsed.ignore == ["lm_head"]
    return parsed.config_groups["group_0"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [-1, 32])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_its_own_decompressor_reads_the_same_weight(
    shape: tuple[int, int], bits: int, group_size: int, symmetric: bool, dtype: torch.dtype
) -> None:
    linear = quantized(*shape, bits, group_size, symmetric)
    packed = compressed_tensors.tensors("q", linear, dtype, "none")
    local = {name.removeprefix("q."): tensor for name, tensor in packed.items()}
    assert ("weight_zero_point" in local) is not symmetric
    described = scheme(linear, group_size)
    assert set(local) == set(PackedQuantizationCompressor.compression_param_names(described))
    weight = PackedQuantizationCompressor.decompress(local, described)["weight"]
    assert weight.dtype == dtype
    assert torch.equal(weight, linear.dequantize(dtype))
    assert torch.equal(weight, dense.tensors("q", linear, dtype, "none")["q.weight"])
    assert torch.equal(local["weight_scale"].float(), linear.scale)  # nothing was lost in storing it
    codes = unpack_from_int32(local["weight_packed"], bits, torch.Size(shape))
    assert torch.equal(codes.int() + 2 ** (bits - 1), linear.codes.int())


def test_refuses_what_it_cannot_hold() -> None:
    linear = quantized(8, 64, 4, 32, False)
    assert compressed_tensors.refuses(linear, "none") is None
    linear.channel_scale = torch.ones(64)
    assert compressed_tensors.refuses(linear, "none") is not None
    linear.channel_scale, linear.right = None, kronecker(64, 0)
    assert compressed_tensors.refuses(linear, "none") is not None
    assert dense.refuses(linear, "none") is None
