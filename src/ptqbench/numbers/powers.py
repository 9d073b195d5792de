"""Grids of small floats whose scales are powers of two, stored as an exponent of 8 bits (E8M0): the MX formats.

The scale is the smallest power of two at which the end of the range is clipped by no more than it could be rounded by:
half the distance of the two largest elements. (OCP's rule, which rounds the exponent down whatever the mantissa, clips
by up to a quarter; compressed-tensors' rule is this one for E2M1.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ptqbench.numbers.floats import FloatGrid

LEAST, MOST = -100, 100  # exponents; E8M0 has -127 to 127


@dataclass(frozen=True)
class PowerGrid(FloatGrid):
    """``group_size`` input channels share a power of two."""

    SCALES: ClassVar = "powers"

    @property
    def reach(self) -> float:
        """Half a step beyond the largest element."""
        return self.ELEMENT.largest + 2.0 ** (self._exponent - self.ELEMENT.mantissa - 1)

    @property
    def _exponent(self) -> int:
        """Of the largest element."""
        return int(self.ELEMENT.largest).bit_length() - 1

    def stored(self, scale: Tensor) -> Tensor:
        """The next power of two, up."""
        mantissa, exponent = torch.frexp(scale.clamp(min=2.0**LEAST))
        exponent = torch.where(mantissa == 0.5, exponent - 1, exponent).clamp(LEAST, MOST)
        return torch.ldexp(torch.ones_like(scale), exponent)

    def overhead(self, m: int, groups: int) -> int:
        """Bits of what is stored beside the codes: a byte a group."""
        return 8 * m * groups
