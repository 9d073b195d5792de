"""Checkpoints of the gptq and awq layouts and of FP8 in blocks, read as their descriptions say, whoever wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
import reference.packed as reader
import torch
from codes import quantized
from safetensors.torch import save_file
from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.formats import awq, gptq, unpacked
from ptqbench.formats.layout import Layout
from ptqbench.numbers.bitstream import pack

SHAPE, CPU = (32, 64), torch.device("cpu")


def written(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("zeros", ["v1", "v2"])
@pytest.mark.parametrize(("bits", "symmetric"), [(2, False), (3, False), (4, True), (8, True)])
def test_groups_in_any_order(bits: int, symmetric: bool, zeros: str) -> None:
    linear = quantized(*SHAPE, bits, 32, symmetric)
    if zeros == "v1":
        linear.zero = linear.zero.clamp(min=1)
    parts = gptq.tensors("q", linear, torch.float32, Layout(bits, 32, symmetric, zeros=zeros))
    local = {name.removeprefix("q."): tensor for name, tensor in parts.items()}
    local["g_idx"] = local["g_idx"][torch.randperm(SHAPE[1], generator=torch.Generator().manual_seed(0))]
    version = gptq.VERSIONS[zeros]
    found = unpacked.gptq(local, unpacked.VERSIONS[version], torch.float64)
    assert torch.equal(found, reader.gptq(local, bits, version, torch.float64))


def test_a_zero_point_of_zero_in_version_1_wraps() -> None:
    linear = quantized(*SHAPE, 4, 32, False)
    assert bool((linear.zero == 0).any())
    parts = gptq.tensors("q", linear, torch.float32, Layout(4, 32, False))
    local = {name.removeprefix("q."): tensor for name, tensor in parts.items()}
    local["qzeros"] = pack((linear.zero.T - 1) & 15, 4)
    assert torch.equal(unpacked.gptq(local, 1, torch.float32), linear.dequantize(torch.float32))


def test_awq() -> None:
    linear = quantized(24, 64, 4, 32, False)
    parts = awq.tensors("q", linear, torch.float32, Layout(4, 32, False))
    local = {name.removeprefix("q."): tensor for name, tensor in parts.items()}
    assert torch.equal(unpacked.awq(local, torch.float64), reader.awq(local, torch.float64))


def test_without_an_order_groups_are_runs_and_biases_stay(tmp_path: Path) -> None:
    linear = quantized(*SHAPE, 4, 32, False)
    tensors = gptq.tensors("q", linear, torch.float32, Layout(4, 32, False))
    del tensors["q.g_idx"]
    tensors |= {"q.bias": torch.ones(32), "norm.weight": torch.ones(3)}
    settings = {"quant_method": "gptq", "checkpoint_format": "gptq_v2", "bits": 4, "group_size": 32}
    folder = written(tmp_path, tensors)
    found = {name: (tensor, packed) for name, tensor, packed in unpacked.dense(folder, settings, CPU, torch.float32)}
    assert {name: packed for name, (_, packed) in found.items()} == {
        "q.weight": True,
        "q.bias": False,
        "norm.weight": False,
    }
    assert torch.equal(found["q.weight"][0], linear.dequantize(torch.float32))
    with pytest.raises(UserError, match="q has 2 groups for 64 input channels, which group_size 16 does not explain"):
        list(unpacked.dense(folder, {**settings, "group_size": 16}, CPU))


def test_fp8_in_blocks(tmp_path: Path) -> None:
    """The last block of each axis is cut off."""
    code = torch.randn(6, 5).to(torch.float8_e4m3fn)
    scale = torch.rand(2, 2) + 0.5
    folder = written(tmp_path, {"q.weight": code, "q.weight_scale_inv": scale})
    found = list(unpacked.dense(folder, {"quant_method": "fp8", "weight_block_size": [4, 3]}, CPU))
    assert [(name, packed) for name, _, packed in found] == [("q.weight", True)]
    for i in range(6):
        for j in range(5):
            assert found[0][1][i, j] == code[i, j].float() * scale[i // 4, j // 3]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "gptq in the layout 'marlin'"),
        ({"quant_method": "awq", "version": "gemv"}, "awq in the layout 'gemv'"),
        ({"quant_method": "fp8"}, "fp8 without blocks"),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"},
            "fp8 with static scales of activations",
        ),
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "gptq"}, None),
        ({"quant_method": "awq", "version": "GEMM"}, None),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, None),
    ],
)
def test_what_is_not_read(settings: dict[str, object], why: str | None) -> None:
    assert unpacked.refuses(settings) == why
