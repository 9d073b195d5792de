"""AWQ checkpoints in the GEMM layout: 4 bits, everything packed along the output, eight columns a word, interleaved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats.layout import Layout
from ptqbench.formats.plain import unfolded
from ptqbench.formats.unpacked import ORDER
from ptqbench.numbers.bitstream import pack

FORMAT = "awq"
BITS = (4,)


def refuses(linear: QuantizedLinear, layout: Layout) -> str | None:
    """Why this format cannot hold a linear, or None."""
    if linear.shape[0] % len(ORDER):
        return f"a linear of {linear.shape[0]} rows, which is no multiple of {len(ORDER)}"
    return unfolded(linear)


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype, layout: Layout) -> dict[str, Tensor]:
    """The tensors that replace ``<name>.weight``, W ``[m, n]`` in groups of g; scales are float16 whatever ``dtype``.

    ``qweight`` int32 ``[n, m / 8]``, ``qzeros`` int32 ``[n / g, m / 8]`` and ``scales`` ``[n / g, m]``.
    """
    return {
        f"{name}.qweight": pack(interleave(linear.codes.T), linear.bits),
        f"{name}.qzeros": pack(interleave(linear.zero.T), linear.bits),
        f"{name}.scales": linear.scale.T.to(torch.float16).contiguous(),
    }


def interleave(columns: Tensor) -> Tensor:
    """Reorder each eight columns of ``[rows, m]`` as the words hold them."""
    return columns.unflatten(1, (-1, len(ORDER)))[..., list(ORDER)].flatten(1)


def settings(layout: Layout, ignore: list[str]) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``; ``ignore`` lists linears that stay in float."""
    return {
        "quant_method": "awq",
        "version": "gemm",
        "bits": layout.bits,
        "group_size": layout.group_size,
        "zero_point": True,
        "modules_to_not_convert": ignore,
    }
