"""Dequantized weights under the model's own names: loads everywhere, saves nothing. The report marks such cells."""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats.layout import Layout

FORMAT = "dense"


def refuses(linear: QuantizedLinear, layout: Layout) -> str | None:
    """Any weight is held; quantized activations would silently run in float."""
    return "quantized activations" if layout.activations != "none" else None


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype, layout: Layout) -> dict[str, Tensor]:
    """The weight in the model's dtype, to the bit what a packed kernel's dequantization gives."""
    return {f"{name}.weight": linear.dequantize(dtype)}


def settings(layout: Layout, ignore: list[str], widths: dict[str, int] | None = None) -> None:
    """A dense checkpoint has no quantization config."""
    return None
