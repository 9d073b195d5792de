"""Checkpoints of the gptq and awq layouts, and of FP8 in blocks, as dense weights, whoever wrote them.

The inverse of :mod:`ptqbench.formats.gptq` and :mod:`ptqbench.formats.awq`, and of layouts that they do not write:
reordered groups (``g_idx`` in any order), widths that differ by linear, the blocks of DeepSeek and Qwen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ptqbench.errors import UserError, shown
from ptqbench.models.files import weight_files
from ptqbench.numbers.bitstream import WORD, unpack

VERSIONS = {"gptq": 1, "gptq_v2": 0}  # what is added to a stored zero-point
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # the column, of each eight, that nibble i of awq's words holds
BLOCK_SCALE = "weight_scale_inv"

Tensors = Mapping[str, Tensor]


def refuses(settings: dict[str, Any]) -> str | None:
    """Why a checkpoint with this ``quantization_config`` is not read here, or None."""
    method = settings["quant_method"]
    if method == "gptq" and version(settings) not in VERSIONS:
        return f"gptq in the layout {shown(version(settings))}"
    if method == "awq" and settings.get("version", "gemm").lower() != "gemm":
        return f"awq in the layout {shown(settings['version'])}"
    if method == "fp8" and not settings.get("weight_block_size"):
        return "fp8 without blocks"
    if method == "fp8" and settings.get("activation_scheme", "dynamic") != "dynamic":
        return f"fp8 with {settings['activation_scheme']} scales of activations"
    return None if method in ("gptq", "awq", "fp8") else method


def version(settings: dict[str, Any]) -> str:
    """gptq's, which old checkpoints do not name."""
    return str(settings.get("checkpoint_format") or settings.get("format") or "gptq")


def dense(
    folder: Path, settings: dict[str, Any], device: torch.device, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, Tensor, bool]]:
    """Every tensor of a checkpoint by name, on the device, and whether it was packed.

    Weights are products in ``dtype``, or in that of their scales.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder, f"checkpoint {folder}"):
        tensors |= load_file(file)  # a map of the file: a linear's may be in several
    for name, tensor in tensors.items():
        linear, _, part = name.rpartition(".")
        if f"{linear}.{BLOCK_SCALE}" in tensors and part != "bias":
            if part == "weight":
                yield name, blocks(tensors, linear, settings["weight_block_size"], device), True
        elif f"{linear}.qweight" not in tensors or part == "bias":
            yield name, tensor.to(device), False
        elif part == "qweight":
            parts = {key: tensors[f"{linear}.{key}"].to(device) for key in ("qweight", "qzeros", "scales")}
            if settings["quant_method"] == "awq":
                weight = awq(parts, dtype)
            else:
                parts["g_idx"] = groups(tensors, linear, settings, device)
                weight = gptq(parts, VERSIONS[version(settings)], dtype)
            yield f"{linear}.weight", weight, True


def gptq(parts: Tensors, added: int, dtype: torch.dtype | None = None) -> Tensor:
    """``W[o, i] = scales[g, o] (code[i, o] - zero[g, o])`` with ``g = g_idx[i]``; one is ``added`` to stored zeros."""
    scale, order = parts["scales"].T, parts["g_idx"].long()
    m, n = len(scale), len(order)
    bits = parts["qweight"].shape[0] * WORD // n
    codes = unpack(parts["qweight"].T.contiguous(), bits, n)
    zeros = (unpack(parts["qzeros"], bits, m).T + added) & (2**bits - 1)  # a wrapped one is zero
    return _product(codes, zeros[:, order], scale[:, order], dtype)


def awq(parts: Tensors, dtype: torch.dtype | None = None) -> Tensor:
    """The same where everything is packed along the output, eight columns a word, interleaved, in runs of inputs."""
    scale, n = parts["scales"].T, len(parts["qweight"])
    codes, zeros = (straight(unpack(parts[name], 4, len(scale))).T for name in ("qweight", "qzeros"))
    wide = n // scale.shape[1]
    return _product(codes, zeros.repeat_interleave(wide, 1), scale.repeat_interleave(wide, 1), dtype)


def straight(columns: Tensor) -> Tensor:
    """The inverse of :func:`ptqbench.formats.awq.interleave`."""
    back = sorted(range(len(ORDER)), key=ORDER.__getitem__)
    return columns.unflatten(1, (-1, len(ORDER)))[..., back].flatten(1)


def blocks(tensors: Tensors, linear: str, shape: list[int], device: torch.device) -> Tensor:
    """E4M3 ``[m, n]`` times the scale of its block, float32."""
    value, scale = (tensors[f"{linear}.{part}"].to(device).float() for part in ("weight", BLOCK_SCALE))
    m, n = value.shape
    return value * scale.repeat_interleave(shape[0], 0)[:m].repeat_interleave(shape[1], 1)[:, :n]


def groups(tensors: Tensors, linear: str, settings: dict[str, Any], device: torch.device) -> Tensor:
    """The group of each input channel, in runs where none is stored.

    Raises :class:`UserError` where the channels cannot be counted.
    """
    stored = tensors.get(f"{linear}.g_idx")
    if stored is not None and len(stored):
        return stored.to(device)
    count, size = len(tensors[f"{linear}.scales"]), settings.get("group_size", -1)
    n = tensors[f"{linear}.qweight"].shape[0] * WORD // settings["bits"]
    if count != (n // size if size > 0 else 1):
        raise UserError(f"{linear} has {count} groups for {n} input channels, which group_size {size} does not explain")
    return torch.arange(n, device=device) // (size if size > 0 else n)


def _product(codes: Tensor, zeros: Tensor, scale: Tensor, dtype: torch.dtype | None) -> Tensor:
    scale = scale.to(dtype or scale.dtype)
    return (codes.to(torch.int16) - zeros.to(torch.int16)).to(scale.dtype).mul_(scale)
