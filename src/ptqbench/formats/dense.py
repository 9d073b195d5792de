"""Dequantized weights under the model's own names: loads everywhere, saves nothing. The report marks such cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.quantize.linear import QuantizedLinear

FORMAT = "dense"


def refuses(linear: QuantizedLinear, activations: str) -> str | None:
    """Any weight is held; quantized activations would silently run in float."""
    return "quantized activations" if activations != "none" else None


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype, activations: str) -> dict[str, Tensor]:
    """The weight in the model's dtype, to the bit what a packed kernel's dequantization gives."""
    return {f"{name}.weight": linear.dequantize(dtype)}


def settings(scheme: dict[str, Any], activations: str, ignore: list[str]) -> None:
    """A dense checkpoint has no quantization config."""
    return None
