"""What a checkpoint of plain linears cannot say."""

from __future__ import annotations

from ptqbench.quantize.linear import QuantizedLinear


def unfolded(linear: QuantizedLinear) -> str | None:
    """What a runtime would have to do to the input or output besides the product, or None."""
    if linear.channel_scale is not None:
        return "a channel scale that folds nowhere"
    if linear.half_integer:
        return "a half-integer zero-point"
    if linear.right is not None or linear.left is not None:
        return "transforms of single linears"
    return None
