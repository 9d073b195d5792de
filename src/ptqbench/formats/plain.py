"""What a checkpoint of plain linears cannot say."""

from __future__ import annotations

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats.online import width


def unfolded(linear: QuantizedLinear, online: bool = False) -> str | None:
    """What a runtime would have to do to the input or output besides the product, or None.

    ``online``: it can do the transforms of :func:`ptqbench.formats.online.width`.
    """
    if linear.basis.scale is not None:
        return "a channel scale that folds nowhere"
    if linear.half_integer:
        return "a half-integer zero-point"
    if (linear.basis.right is not None or linear.basis.left is not None) and not (online and width(linear)):
        return "a transform of inputs at run time" if width(linear) else "transforms of single linears"
    return None
