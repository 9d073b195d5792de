"""GPTQ checkpoints, 2, 3, 4 and 8 bits: codes packed along the input, zero-points along the output.

Version 1 stores each zero-point minus one in its own field, which wraps for zero, and some readers add the one back to
whole words, where a wrapped field carries into its neighbour. Version 2 stores them as they are. Groups are runs of
input channels (``g_idx`` rises), so that no kernel has to reorder activations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats.layout import Layout
from ptqbench.formats.plain import unfolded
from ptqbench.numbers.bitstream import pack

FORMAT = "gptq"
BITS = (2, 3, 4, 8)
VERSIONS = {"v1": "gptq", "v2": "gptq_v2"}
RUN = 32  # codes that fill whole words at any width


def refuses(linear: QuantizedLinear, layout: Layout) -> str | None:
    """Why this format cannot hold a linear, or None."""
    m, n = linear.shape
    if m % RUN or n % RUN:
        return f"a linear of {m} x {n}, which are not both multiples of {RUN}"
    if layout.zeros == "v1" and bool((linear.zero == 0).any()):
        return "a zero-point of 0, which version 1 wraps"
    return unfolded(linear)


def tensors(name: str, linear: QuantizedLinear, dtype: torch.dtype, layout: Layout) -> dict[str, Tensor]:
    """The tensors that replace ``<name>.weight``, W ``[m, n]`` in groups of g; scales are float16 whatever ``dtype``.

    ``qweight`` int32 ``[n · bits / 32, m]``, ``qzeros`` int32 ``[n / g, m · bits / 32]``, ``scales`` ``[n / g, m]`` and
    ``g_idx`` int32 ``[n]``: ``W[o, i] = scales[g_idx[i], o] (code[i, o] - zero[g_idx[i], o])``.
    """
    stored = linear.zero - 1 if layout.zeros == "v1" else linear.zero
    return {
        f"{name}.qweight": linear.words.T.contiguous(),
        f"{name}.qzeros": pack(stored.T, linear.bits),
        f"{name}.scales": linear.scale.T.to(torch.float16).contiguous(),
        f"{name}.g_idx": torch.arange(linear.shape[1], dtype=torch.int32) // linear.group_size,
    }


def settings(layout: Layout, ignore: list[str]) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``; readers leave the head in float by ``lm_head``."""
    return {
        "quant_method": "gptq",
        "checkpoint_format": VERSIONS[layout.zeros],
        "bits": layout.bits,
        "group_size": layout.group_size,
        "sym": layout.symmetric,
        "desc_act": False,
        "static_groups": False,
        "true_sequential": True,
        "lm_head": False,
        "pack_dtype": "int32",
        "meta": {"quantizer": ["ptqbench"]},
    }
