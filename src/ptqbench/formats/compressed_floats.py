"""compressed-tensors' formats of floats: what of a checkpoint and of its config each number format becomes.

Codes of four bits lie two a byte, the first in the low half; of eight bits they are ``float8_e4m3fn`` themselves.
NVFP4's scales are E4M3 over a float32 scale of the tensor, by which the format divides; MX scales are exponents with a
bias of 127.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ptqbench.numbers.elements import E2M1, E4M3, Element
from ptqbench.schemes import rows

if TYPE_CHECKING:  # what reads a checkpoint needs none of it
    from ptqbench.artifacts.linear import QuantizedLinear

BIAS = 127  # of E8M0


class Stored(NamedTuple):
    """A compression, and what its config says of the weights."""

    compression: str
    strategy: str
    scale_dtype: str | None = None


STORED = {
    "nvfp4": Stored("nvfp4-pack-quantized", "tensor_group", "torch.float8_e4m3fn"),
    "mxfp4": Stored("mxfp4-pack-quantized", "group", "torch.uint8"),
    "mxfp8": Stored("mxfp8-quantized", "group", "torch.uint8"),
    "fp8": Stored("float-quantized", "channel"),
    "fp8_tensor": Stored("float-quantized", "tensor"),
    "fp8_block": Stored("float-quantized", "block"),
}
ELEMENTS: dict[int, Element] = {4: E2M1, 8: E4M3}


def refuses(linear: QuantizedLinear) -> str | None:
    """Why no such format holds a linear, or None."""
    return None if linear.number in STORED else f"numbers of the format {linear.number}"


def tensors(name: str, linear: QuantizedLinear) -> dict[str, Tensor]:
    """The tensors that replace ``<name>.weight``."""
    code = linear.words.view(torch.uint8)
    if linear.bits == 8:
        found = {f"{name}.weight": code[:, : linear.shape[1]].contiguous().view(torch.float8_e4m3fn)}
    else:
        found = {f"{name}.weight_packed": code[:, : linear.shape[1] // 2].contiguous()}
    if linear.shared is not None:
        found[f"{name}.weight_scale"] = (linear.scale * linear.shared).to(torch.float8_e4m3fn)
        return found | {f"{name}.weight_global_scale": linear.shared.float().view(1)}
    return found | {f"{name}.weight_scale": scales(linear)}


def scales(linear: QuantizedLinear) -> Tensor:
    """The scales of a linear as its format stores them."""
    strategy, scale = STORED[linear.number].strategy, linear.scale
    if strategy == "group":
        return (torch.log2(scale).round() + BIAS).to(torch.uint8)
    if strategy == "block":
        return scale[:: rows({"number": linear.number})].contiguous()
    return scale[:1, 0].contiguous() if strategy == "tensor" else scale


def weights(number: str, bits: int, group_size: int) -> dict[str, Any]:
    """The config's group of the weights."""
    stored = STORED[number]
    return {
        "num_bits": bits,
        "type": "float",
        "symmetric": True,
        "strategy": stored.strategy,
        "group_size": group_size if stored.strategy.endswith("group") else None,
        "block_structure": [group_size, group_size] if stored.strategy == "block" else None,
        "scale_dtype": stored.scale_dtype,
        "dynamic": False,
    }


def dense(tensors: dict[str, Tensor], linear: str, settings: dict[str, Any]) -> Tensor:
    """The weight ``[m, n]``, float32, of a linear's tensors in a checkpoint: the inverse of :func:`tensors`.

    ``settings`` are those of the weights in the config's group.
    """
    element, scale = ELEMENTS[settings["num_bits"]], tensors[f"{linear}.weight_scale"]
    if settings["num_bits"] == 4:
        packed = tensors[f"{linear}.weight_packed"]
        value = element.value(torch.stack([packed & 15, packed >> 4], -1).flatten(1), torch.float32)
    else:
        value = tensors[f"{linear}.weight"].float()
    if settings["strategy"] == "group":
        scale = torch.exp2(scale.float() - BIAS)
    elif settings["strategy"] == "tensor_group":
        scale = scale.float() / tensors[f"{linear}.weight_global_scale"]
    m, n = value.shape
    if settings["strategy"] == "block":
        high, wide = settings["block_structure"]
        return value * scale.repeat_interleave(high, 0)[:m].repeat_interleave(wide, 1)[:, :n]
    if settings["strategy"] == "tensor":
        return value * scale
    return value * scale.repeat_interleave(n // scale.shape[1], 1)
