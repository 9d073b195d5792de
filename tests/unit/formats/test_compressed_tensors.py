"""What we pack, the format's own library unpacks: the same weight, bit for bit."""

from __future__ import annotations

import pytest
import torch
from codes import quantized
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats import compressed_tensors, dense
from ptqbench.formats.layout import Layout
from ptqbench.linalg.basis import Basis
from ptqbench.linalg.orthogonal import kronecker

SHAPES = [(8, 64), (5, 96)]


def scheme(linear: QuantizedLinear, group_size: int) -> QuantizationScheme:
    config = compressed_tensors.settings(Layout(linear.bits, group_size, linear.symmetric), ["lm_head"])
    parsed = QuantizationConfig.model_validate(config)
    assert parsed.format == compressed_tensors.PACKED
    assert parsed.ignore == ["lm_head"]
    return parsed.config_groups["group_0"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [-1, 32])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", SHAPES)
def test_its_own_decompressor_reads_the_same_weight(
    shape: tuple[int, int], bits: int, group_size: int, symmetric: bool, dtype: torch.dtype
) -> None:
    linear = quantized(*shape, bits, group_size, symmetric)
    layout = Layout(bits, group_size, symmetric)
    packed = compressed_tensors.tensors("q", linear, dtype, layout)
    local = {name.removeprefix("q."): tensor for name, tensor in packed.items()}
    assert ("weight_zero_point" in local) is not symmetric
    described = scheme(linear, group_size)
    assert set(local) == set(PackedQuantizationCompressor.compression_param_names(described))
    weight = PackedQuantizationCompressor.decompress(local, described)["weight"]
    assert weight.dtype == dtype
    assert torch.equal(weight, linear.dequantize(dtype))
    assert torch.equal(weight, dense.tensors("q", linear, dtype, layout)["q.weight"])
    assert torch.equal(local["weight_scale"].float(), linear.scale)  # nothing was lost in storing it
    codes = unpack_from_int32(local["weight_packed"], bits, torch.Size(shape))
    assert torch.equal(codes.int() + 2 ** (bits - 1), linear.codes.int())


def test_refuses_what_it_cannot_hold() -> None:
    linear, layout = quantized(8, 64, 4, 32, False), Layout(4, 32, False)
    assert compressed_tensors.refuses(linear, layout) is None
    linear.basis = Basis(torch.ones(64))
    assert compressed_tensors.refuses(linear, layout) is not None
    linear.basis = Basis(right=kronecker(64, 0))
    assert compressed_tensors.refuses(linear, layout) is not None
    assert dense.refuses(linear, layout) is None
