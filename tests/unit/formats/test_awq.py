"""AWQ checkpoints hold our weight to the bit, as a reader written from the layout's description sees it."""

from __future__ import annotations

import pytest
import reference.packed as reader
import torch
from codes import quantized

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats import awq
from ptqbench.formats.layout import Layout
from ptqbench.linalg.basis import Basis


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [-1, 32])
def test_a_reader_of_single_nibbles_sees_the_same_weight(group_size: int, symmetric: bool, dtype: torch.dtype) -> None:
    linear = quantized(24, 64, 4, group_size, symmetric)
    layout = Layout(4, group_size, symmetric)
    assert awq.refuses(linear, layout) is None
    local = {name.removeprefix("q."): tensor for name, tensor in awq.tensors("q", linear, dtype, layout).items()}
    groups = 1 if group_size < 0 else 64 // group_size
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in local.items()} == {
        "qweight": ((64, 3), torch.int32),
        "qzeros": ((groups, 3), torch.int32),
        "scales": ((groups, 24), torch.float16),
    }
    assert all(tensor.is_contiguous() for tensor in local.values())
    assert torch.equal(reader.awq(local, dtype), linear.dequantize(dtype))


def test_a_known_word() -> None:
    """Columns 0 to 7 with codes 0 to 7: the nibbles hold columns 0, 2, 4, 6, 1, 3, 5, 7, the first one lowest."""
    linear = QuantizedLinear(
        stored=torch.arange(8, dtype=torch.uint8).unsqueeze(1),
        scale=torch.ones(8, 1),
        zero=torch.arange(8, dtype=torch.uint8).unsqueeze(1),
        bits=4,
        symmetric=False,
    )
    packed = awq.tensors("q", linear, torch.float16, Layout(4, -1, False))
    assert packed["q.qweight"].tolist() == packed["q.qzeros"].tolist() == [[0x75316420]]


def test_refuses_what_it_cannot_hold() -> None:
    layout = Layout(4, 32, False)
    assert "20 rows" in str(awq.refuses(quantized(20, 64, 4, 32, False), layout))
    linear = quantized(24, 64, 4, 32, False)
    linear.basis = Basis(torch.ones(64))
    assert "channel scale" in str(awq.refuses(linear, layout))


def test_the_config_says_what_is_stored() -> None:
    settings = awq.settings(Layout(4, 64, False), ["lm_head"])
    assert (settings["quant_method"], settings["version"], settings["bits"], settings["group_size"]) == (
        "awq",
        "gemm",
        4,
        64,
    )
    assert settings["zero_point"] is True
    assert settings["modules_to_not_convert"] == ["lm_head"]
