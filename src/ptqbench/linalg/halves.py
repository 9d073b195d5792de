"""A float32 matrix as the sum of two float16 ones, for products on tensor cores (``linalg.product``).

CUDA tensors go to a Triton kernel that reads once and writes once, all others to its plain-torch twin.
"""

from __future__ import annotations

from torch import Tensor

LIFT = 2.0**11  # of the low part, which would else be subnormal


def split(x: Tensor, unit: Tensor, out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """``high`` and ``low`` with ``x ≈ unit (high + low / LIFT)``, float16 ``[m, n]``, in x's layout or into ``out``.

    ``unit`` is float32 and broadcasts to ``x [m, n]``, of which it is nowhere smaller.
    """
    if x.is_cuda:
        from ptqbench.linalg.halves_triton import launch

        return launch(x, unit, out)
    return split_plain(x, unit, out)


def split_plain(x: Tensor, unit: Tensor, out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """The twin of the Triton kernel: the nearest float16 numbers and ``LIFT`` times what they miss."""
    scaled = x / unit
    high = scaled.half()
    low = scaled.sub_(high).mul_(LIFT).half()
    if out is None:
        return high, low
    return out[0].copy_(high), out[1].copy_(low)
