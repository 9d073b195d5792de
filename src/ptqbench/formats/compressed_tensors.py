"""compressed-tensors: what vLLM serves and transformers loads (0.18 or later for 3, 5, 6 and 7 bits).

``pack-quantized``: codes are packed along the input as one dense bit stream per row, zero-points along the output, both
offset as unsigned fields of the signed range; the scale is stored in the model's dtype. ``int-quantized``, for W8A8:
signed codes as int8. With int8 activations, inputs are quantized per token at run time, symmetric. A linear whose input
is transformed at run time holds the codes of its transformed weight; :mod:`ptqbench.formats.online` says by what.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats import compressed_floats
from ptqbench.formats.layout import Layout
from ptqbench.formats.plain import unfolded
from ptqbench.numbers.bitstream import pack
from ptqbench.schemes import INTEGER

FORMAT = "compressed-tensors"
PACKED, W8A8 = "pack-quantized", "int-quantized"
PER_TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def refuses(linear: QuantizedLinear, layout: Layout) -> str | None:
    """Why this format cannot hold a linear, or None."""
    reason = None if linear.number == INTEGER else compressed_floats.refuses(linear)
    return reason or unfolded(linear, online=layout.transform is not None)


def compression(layout: Layout) -> str:
    """Which compression holds a layout."""
    if layout.number != INTEGER:
        return compressed_floats.STORED[layout.number].compression
    bytes_do = layout.bits == 8 and not layout.mixed and layout.symmetric and not layout.grouped
    return W8A8 if layout.activations == "int8" and bytes_do else PACKED


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype, layout: Layout) -> dict[str, Tensor]:
    """The tensors that replace ``<name>.weight``; ``dtype`` is the model's."""
    if linear.number != INTEGER:
        return compressed_floats.tensors(name, linear)
    if compression(layout) == W8A8:
        signed = (linear.codes.to(torch.int16) - 128).to(torch.int8)
        return {f"{name}.weight": signed, f"{name}.weight_scale": linear.scale.to(dtype)}
    packed = {
        f"{name}.weight_packed": linear.words,
        f"{name}.weight_scale": linear.scale.to(dtype),
        f"{name}.weight_shape": torch.tensor(linear.shape, dtype=torch.int64),
    }
    if not linear.symmetric:
        packed[f"{name}.weight_zero_point"] = pack(linear.zero.T.contiguous(), linear.bits).T.contiguous()
    return packed


def settings(layout: Layout, ignore: list[str], widths: dict[str, int] | None = None) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``; ``ignore`` lists linears that stay in float.

    ``widths`` gives the bits of every linear by name, where they are mixed: a group of the config for each width.
    """
    if not widths:
        groups = [_group(layout, layout.bits, ["Linear"])]
    else:
        names = {bits: [name for name, own in widths.items() if own == bits] for bits in sorted(set(widths.values()))}
        groups = [_group(layout, bits, targets) for bits, targets in names.items()]
    return {
        "quant_method": "compressed-tensors",
        "format": compression(layout),
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": ignore,
        "config_groups": {f"group_{number}": group for number, group in enumerate(groups)},
    }


def activations(layout: Layout) -> dict[str, Any] | None:
    """How inputs are represented at run time: by token, or by groups of its channels where weights are in blocks."""
    if layout.activations == "none":
        return None
    found = dict(PER_TOKEN) if layout.activations == "int8" else {**PER_TOKEN, "type": "float"}
    return found | ({"strategy": "group", "group_size": layout.group_size} if layout.number == "fp8_block" else {})


def _group(layout: Layout, bits: int, targets: list[str]) -> dict[str, Any]:
    """The settings of the linears that ``targets`` name, by class or in full."""
    if layout.number != INTEGER:
        weights = compressed_floats.weights(layout.number, bits, layout.group_size)
        inputs = activations(layout)
        return {"targets": targets, "weights": weights, "input_activations": inputs, "output_activations": None}
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": layout.symmetric,
        "strategy": "group" if layout.grouped else "channel",
        "group_size": layout.group_size if layout.grouped else None,
        "dynamic": False,
    }
    return {
        "targets": targets,
        "weights": weights,
        "input_activations": activations(layout),
        "output_activations": None,
    }
