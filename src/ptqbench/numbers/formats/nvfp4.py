"""NVFP4: E2M1 in groups of 16 with E4M3 scales, and one float32 scale a tensor, which fused linears share.

The tensor's scale is a power of two here, so that the product of both scales is exact in every float type: a group's
scale is then any number of four significant bits within E4M3's normal range of the site's largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ptqbench.numbers.elements import E2M1, E4M3, Element
from ptqbench.numbers.floats import SMALLEST, FloatGrid

BITS = 4
GROUP_SIZE = 16
SCALE_BITS = 8
RANGE = 2.0**-13  # a site's smallest scale in units of its largest: 224 of that is still a normal number of E4M3


@dataclass(frozen=True)
class Nvfp4(FloatGrid):
    """4.5 bits a weight."""

    NUMBER: ClassVar = "nvfp4"
    ELEMENT: ClassVar[Element] = E2M1
    SCALES: ClassVar = "four bits"

    bits: int = BITS
    group_size: int = GROUP_SIZE

    def stored(self, scale: Tensor) -> Tensor:
        """Rounded to four significant bits."""
        mantissa, exponent = torch.frexp(scale.clamp(min=SMALLEST))
        return torch.ldexp(torch.round(mantissa * 16) / 16, exponent)

    def joint(self, scale: Tensor) -> Tensor:
        """Raised to what E4M3 holds beside the largest: weights so small round to 0 or to their largest."""
        return torch.maximum(scale, scale.max() * RANGE)

    def shared(self, scale: Tensor) -> Tensor:
        """By what the scales are multiplied to be stored as E4M3: the site's largest is then in (224, 448]."""
        _, exponent = torch.frexp(scale.max() / E4M3.largest * (1 - 2.0**-20))  # of 448 itself the one of a bit less
        return torch.ldexp(torch.ones((), device=scale.device), -exponent)

    def within(self, scale: Tensor, known: Tensor) -> Tensor:
        """No larger than twice the site's largest, and no smaller than its smallest can be."""
        return scale.clamp(known.max() * RANGE, known.max())

    def overhead(self, m: int, groups: int) -> int:
        """Bits of what is stored beside the codes: a byte a group, and a float32."""
        return 8 * m * groups + 32
