"""QuIP's grid (arXiv 2307.13304, section 4): a multiple of the root mean square, for weights made incoherent.

QuIP's own grid is symmetric around a half-integer zero-point, which no packed format holds; this is the same range on
the integer grid.
"""

from __future__ import annotations

from torch import Tensor

from ptqbench.quantize.grid import Grid

STRATEGY = None
DEFAULTS = {"reach": 2.4}


def bounds(weight: Tensor, grid: Grid, hessian: Tensor | None, reach: float) -> tuple[Tensor, Tensor]:
    """``± reach · rms`` of each row or group, ``[m, groups]``."""
    size = reach * weight.square().mean(-1).sqrt()
    return -size, size
