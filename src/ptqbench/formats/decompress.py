"""A compressed-tensors checkpoint as dense weights, by the format's definition; the inverse of what export writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ptqbench.formats import compressed_floats
from ptqbench.models.files import weight_files
from ptqbench.numbers.bitstream import unpack


def dense(
    folder: Path, settings: dict[str, Any], device: torch.device, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, Tensor, bool]]:
    """Every tensor of a checkpoint by name, on the device, and whether it was packed.

    ``settings`` is its ``quantization_config``; weights are products in ``dtype``, or in that of their scales.
    """
    bits, floats = widths(settings), float_settings(settings)
    for file in weight_files(folder, f"checkpoint {folder}"):
        tensors = load_file(file)  # a map of the file: what is not on the device takes no memory
        for name, tensor in tensors.items():
            linear, _, part = name.rpartition(".")
            stored = tensors.get(f"{linear}.weight_scale")
            if stored is None or part == "bias":
                yield name, tensor.to(device), False
                continue
            if floats and part in ("weight", "weight_packed"):
                parts = {key: one.to(device) for key, one in tensors.items() if key.startswith(f"{linear}.")}
                yield f"{linear}.weight", compressed_floats.dense(parts, linear, floats), True
                continue
            scale = stored.to(device, dtype or stored.dtype)
            if part == "weight":
                yield name, spread(tensor.to(device), scale), True
            elif part == "weight_packed":
                own = bits[linear if linear in bits else "Linear"]
                yield f"{linear}.weight", spread(integers(tensors, linear, own, device), scale), True


def float_settings(settings: dict[str, Any]) -> dict[str, Any] | None:
    """What the config says of weights that are floats; None where they are integers."""
    weights: dict[str, Any] = next(iter(settings["config_groups"].values()))["weights"]
    return weights if weights["type"] == "float" else None


def widths(settings: dict[str, Any]) -> dict[str, int]:
    """Bits by target of the config's groups: a linear's name, or ``Linear`` for all."""
    groups = settings["config_groups"].values()
    return {target: group["weights"]["num_bits"] for group in groups for target in group["targets"]}


def integers(tensors: dict[str, Tensor], linear: str, bits: int, device: torch.device) -> Tensor:
    """Codes minus zero-points ``[m, n]``, int16, on the device; symmetric grids have theirs in the middle."""
    m, n = tensors[f"{linear}.weight_shape"].tolist()
    codes = unpack(tensors[f"{linear}.weight_packed"].to(device), bits, n).to(torch.int16)
    packed = tensors.get(f"{linear}.weight_zero_point")
    if packed is None:
        return codes - 2 ** (bits - 1)
    zero = unpack(packed.to(device).T.contiguous(), bits, m).T.to(torch.int16)
    return codes.unflatten(1, (zero.shape[1], -1)).sub_(zero.unsqueeze(-1)).flatten(1)


def spread(steps: Tensor, scale: Tensor) -> Tensor:
    """Integers ``[m, n]`` times the scales ``[m, groups]``, in the scales' dtype."""
    return steps.to(scale.dtype).unflatten(1, (scale.shape[1], -1)).mul_(scale.unsqueeze(-1)).flatten(1)
