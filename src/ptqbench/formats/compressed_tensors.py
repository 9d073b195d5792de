"""compressed-tensors: what vLLM serves and transformers loads (0.18 or later for 3 bits).

``pack-quantized``: codes are packed along the input as one dense bit stream per row, zero-points along the output, both
offset as unsigned fields of the signed range; the scale is stored in the model's dtype. ``int-quantized``, for W8A8:
signed codes as int8. With int8 activations, inputs are quantized per token at run time, symmetric.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.formats.bitstream import pack
from ptqbench.quantize.linear import QuantizedLinear

FORMAT = "pack-quantized"
W8A8 = "int-quantized"


def refuses(linear: QuantizedLinear, activations: str) -> str | None:
    """Why this format cannot hold a linear, or None."""
    if linear.channel_scale is not None:
        return "a channel scale that folds nowhere"
    if linear.half_integer:
        return "a half-integer zero-point"
    if linear.right is not None or linear.left is not None:
        return "transforms of single linears"
    return None


def layout(bits: int, symmetric: bool, grouped: bool, activations: str) -> str:
    """Which of the two formats holds a scheme."""
    return W8A8 if activations == "int8" and bits == 8 and symmetric and not grouped else FORMAT


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype, activations: str) -> dict[str, Tensor]:
    """The tensors that replace ``<name>.weight``; ``dtype`` is the model's."""
    if layout(linear.bits, linear.symmetric, linear.scale.shape[1] > 1, activations) == W8A8:
        signed = (linear.codes.to(torch.int16) - 128).to(torch.int8)
        return {f"{name}.weight": signed, f"{name}.weight_scale": linear.scale.to(dtype)}
    packed = {
        f"{name}.weight_packed": pack(linear.codes, linear.bits),
        f"{name}.weight_scale": linear.scale.to(dtype),
        f"{name}.weight_shape": torch.tensor(linear.codes.shape, dtype=torch.int64),
    }
    if not linear.symmetric:
        packed[f"{name}.weight_zero_point"] = pack(linear.zero.T.contiguous(), linear.bits).T.contiguous()
    return packed


def settings(scheme: dict[str, Any], activations: str, ignore: list[str]) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``; ``ignore`` lists linears that stay in float."""
    grouped = scheme["group_size"] > 0
    per_token = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    inputs = per_token if activations == "int8" else None
    weights = {
        "num_bits": scheme["bits"],
        "type": "int",
        "symmetric": scheme["symmetric"],
        "strategy": "group" if grouped else "channel",
        "group_size": scheme["group_size"] if grouped else None,
        "dynamic": False,
    }
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": layout(scheme["bits"], scheme["symmetric"], grouped, activations),
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": ignore,
        "config_groups": {"group_0": group},
    }
