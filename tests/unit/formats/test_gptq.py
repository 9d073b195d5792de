"""GPTQ checkpoints hold our weight to the bit, as a reader written from the layout's description sees it."""

from __future__ import annotations

import pytest
import reference.packed as reader
import torch
from codes import quantized

from ptqbench.formats import gptq
from ptqbench.formats.layout import Layout
from ptqbench.linalg.basis import Basis
from ptqbench.linalg.orthogonal import kronecker

SHAPE = (32, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("zeros", ["v1", "v2"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [-1, 32])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_reader_of_single_bits_sees_the_same_weight(
    bits: int, group_size: int, symmetric: bool, zeros: str, dtype: torch.dtype
) -> None:
    linear = quantized(*SHAPE, bits, group_size, symmetric)
    if zeros == "v1":
        linear.zero = linear.zero.clamp(min=1)
    layout = Layout(bits, group_size, symmetric, zeros=zeros)
    assert gptq.refuses(linear, layout) is None
    local = {name.removeprefix("q."): tensor for name, tensor in gptq.tensors("q", linear, dtype, layout).items()}
    groups = 1 if group_size < 0 else SHAPE[1] // group_size
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in local.items()} == {
        "qweight": ((SHAPE[1] * bits // 32, SHAPE[0]), torch.int32),
        "qzeros": ((groups, SHAPE[0] * bits // 32), torch.int32),
        "scales": ((groups, SHAPE[0]), torch.float16),
        "g_idx": ((SHAPE[1],), torch.int32),
    }
    assert all(tensor.is_contiguous() for tensor in local.values())
    assert bool((local["g_idx"].diff() >= 0).all())
    version = gptq.settings(layout, [])["checkpoint_format"]
    assert torch.equal(reader.gptq(local, bits, version, dtype), linear.dequantize(dtype))


def test_the_zero_points_of_a_symmetric_grid_in_version_1() -> None:
    """Known words: seven in every nibble, and 127 in every byte."""
    for bits, word in ((4, 0x77777777), (8, 0x7F7F7F7F)):
        linear = quantized(*SHAPE, bits, 32, True)
        zeros = gptq.tensors("q", linear, torch.bfloat16, Layout(bits, 32, True, zeros="v1"))["q.qzeros"]
        assert set(zeros.flatten().tolist()) == {word}


def test_the_config_says_what_is_stored() -> None:
    settings = gptq.settings(Layout(3, -1, True, zeros="v1"), ["lm_head"])
    assert {key: settings[key] for key in ("quant_method", "checkpoint_format", "bits", "group_size", "sym")} == {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": 3,
        "group_size": -1,
        "sym": True,
    }
    assert settings["desc_act"] is False
    assert gptq.settings(Layout(4, 128, False), [])["checkpoint_format"] == "gptq_v2"


def test_refuses_what_it_cannot_hold() -> None:
    grouped = Layout(4, 32, False)
    linear = quantized(*SHAPE, 4, 32, False)
    assert bool((linear.zero == 0).any())
    assert "which version 1 wraps" in str(gptq.refuses(linear, Layout(4, 32, False, zeros="v1")))
    assert "30 x 64" in str(gptq.refuses(quantized(30, 64, 4, 32, False), grouped))
    assert "32 x 48" in str(gptq.refuses(quantized(32, 48, 4, 16, False), Layout(4, 16, False)))
    linear.basis = Basis(torch.ones(64))
    assert "channel scale" in str(gptq.refuses(linear, grouped))
    linear.basis = Basis(right=kronecker(64, 0))
    assert "transforms" in str(gptq.refuses(linear, grouped))
