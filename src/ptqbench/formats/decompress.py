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

PACKED = "pack-quantized"
COMPRESSIONS = {PACKED, "int-quantized", *(stored.compression for stored in compressed_floats.STORED.values())}


def dense(
    folder: Path, settings: dict[str, Any], device: torch.device, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, Tensor, bool]]:
    """Every tensor of a checkpoint by name, on the device, and whether it was packed.

    ``settings`` is its ``quantization_config``; weights are products in ``dtype``, or in that of their scales.
    """
    bits, floats = widths(settings), float_settings(settings)
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder, f"checkpoint {folder}"):
        tensors |= load_file(file)  # a map of the file: what is not on the device takes no memory
    for name, tensor in tensors.items():
        linear, _, part = name.rpartition(".")
        stored = tensors.get(f"{linear}.weight_scale")
        if stored is None or part == "bias":
            yield name, tensor.to(device), False
            continue
        if floats and part in ("weight", "weight_packed"):
            parts = {key: tensors[key].to(device) for key in parts_of(linear) if key in tensors}
            yield f"{linear}.weight", compressed_floats.dense(parts, linear, floats), True
            continue
        scale = stored.to(device, dtype or stored.dtype)
        if part == "weight":
            yield name, spread(tensor.to(device), scale), True
        elif part == "weight_packed":
            own = bits[linear if linear in bits else "Linear"]
            yield f"{linear}.weight", spread(integers(tensors, linear, own, device), scale), True


def parts_of(linear: str) -> list[str]:
    """What the packed formats of floats store of a linear."""
    return [f"{linear}.{part}" for part in ("weight", "weight_packed", "weight_scale", "weight_global_scale")]


def refuses(settings: dict[str, Any]) -> str | None:
    """Why a checkpoint with this ``quantization_config`` is not read here, or None: others write more than we do."""
    groups, packing = list((settings.get("config_groups") or {}).values()), settings.get("format")
    if packing not in COMPRESSIONS:
        return f"the compression {packing}"
    inputs = [group.get("input_activations") for group in groups]
    if not groups or any(group.get("output_activations") for group in groups) or settings.get("kv_cache_scheme"):
        return "quantized outputs, keys or values"
    if any(one != inputs[0] for one in inputs) or (inputs[0] and not _at_run_time(inputs[0])):
        return "inputs that are not quantized to 8 bits by token at run time"
    if len(groups) > 1 and any(":" in target or target == "Linear" for group in groups for target in group["targets"]):
        return "several schemes by pattern"
    weights = [group.get("weights") for group in groups]
    wrong = [one for one in weights if not _is_described(one, len(groups), packing == PACKED)]
    return f"weights of {wrong[0]}" if wrong else None


def _is_described(weights: dict[str, Any] | None, groups: int, zeros: bool) -> bool:
    """Whether weights are codes with scales as :func:`dense` spreads them; ``zeros``: it reads zero-points."""
    if not weights or weights.get("actorder") or weights.get("dynamic"):
        return False
    if weights.get("type") == "float":
        known = any(stored.strategy == weights.get("strategy") for stored in compressed_floats.STORED.values())
        return known and groups == 1 and weights.get("num_bits") in compressed_floats.ELEMENTS
    return weights.get("strategy") in ("channel", "group") and bool(weights.get("symmetric") or zeros)


def _at_run_time(inputs: dict[str, Any]) -> bool:
    strategies = ("token",) if inputs.get("type") == "int" else ("token", "group")
    bytes_each = bool(inputs.get("num_bits") == 8 and inputs.get("symmetric"))
    return bytes_each and inputs.get("dynamic") is True and inputs.get("strategy") in strategies


def float_settings(settings: dict[str, Any]) -> dict[str, Any] | None:
    """What the config says of weights that are floats; None where they are integers."""
    weights: dict[str, Any] = next(iter(settings["config_groups"].values()))["weights"]
    return weights if weights["type"] == "float" else None


def widths(settings: dict[str, Any]) -> dict[str, int]:
    """Bits by target of the config's groups: a linear's name, or ``Linear`` for all."""
    groups = settings["config_groups"].values()
    if len(groups) == 1:  # whatever names its linears
        return {"Linear": next(iter(groups))["weights"]["num_bits"]}
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
