"""compressed-tensors, ``pack-quantized``: what vLLM serves and transformers loads (0.18 or later for 3 bits).

Codes are packed along the input as one dense bit stream per row, zero-points along the output, both offset as
unsigned fields of the signed range; the scale is stored in the model's dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.formats.bitstream import pack
from ptqbench.quantize.linear import QuantizedLinear

FORMAT = "pack-quantized"


def refuses(linear: QuantizedLinear) -> str | None:
    """Why this format cannot hold a linear, or None."""
    if linear.channel_scale is not None:
        return "a channel scale that folds nowhere"
    if linear.right is not None or linear.left is not None:
        return "transforms of single linears"
    return None


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors that replace ``<name>.weight``; ``dtype`` is the model's."""
    packed = {
        f"{name}.weight_packed": pack(linear.codes, linear.bits),
        f"{name}.weight_scale": linear.scale.to(dtype),
        f"{name}.weight_shape": torch.tensor(linear.codes.shape, dtype=torch.int64),
    }
    if not linear.symmetric:
        packed[f"{name}.weight_zero_point"] = pack(linear.zero.T.contiguous(), linear.bits).T.contiguous()
    return packed


def settings(scheme: dict[str, Any], ignore: list[str]) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``; ``ignore`` lists linears that stay in float."""
    grouped = scheme["group_size"] > 0
    weights = {
        "num_bits": scheme["bits"],
        "type": "int",
        "symmetric": scheme["symmetric"],
        "strategy": "group" if grouped else "channel",
        "group_size": scheme["group_size"] if grouped else None,
        "dynamic": False,
    }
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": ignore,
        "config_groups": {"group_0": group},
    }
