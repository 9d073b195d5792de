"""QuIP's grid (arXiv 2307.13304, section 4): a multiple of the root mean square, for weights made incoherent.

``zero: half_integer`` is QuIP's own grid, symmetric around ``q_max / 2``, which no packed format holds;
``zero: integer`` is the same range on the packable grid, whose four levels at 2 bits are then lopsided.
"""

from __future__ import annotations

from torch import Tensor

from ptqbench.quantize.grid import Grid

STRATEGY = None
DEFAULTS = {"reach": 2.4, "zero": "half_integer"}


def bounds(weight: Tensor, grid: Grid, hessian: Tensor | None, reach: float, zero: str) -> tuple[Tensor, Tensor]:
    """``± reach · rms`` of each row or group, ``[m, groups]``."""
    size = reach * weight.square().mean(-1).sqrt()
    return -size, size
