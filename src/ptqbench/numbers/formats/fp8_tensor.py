"""FP8: E4M3 with one float32 scale for the linears of a site, which runtimes fuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ptqbench.numbers.elements import E4M3, Element
from ptqbench.numbers.floats import FloatGrid

BITS = 8
GROUP_SIZE = -1
SCALE_BITS = 0  # of each row's group: there is one for all


@dataclass(frozen=True)
class Fp8Tensor(FloatGrid):
    """8 bits a weight."""

    NUMBER: ClassVar = "fp8_tensor"
    ELEMENT: ClassVar[Element] = E4M3

    bits: int = BITS
    group_size: int = GROUP_SIZE

    def joint(self, scale: Tensor) -> Tensor:
        """The largest of all rows."""
        return scale.max().expand_as(scale).contiguous()

    def within(self, scale: Tensor, known: Tensor) -> Tensor:
        """The site's."""
        return known.max().expand_as(scale).contiguous()

    def overhead(self, m: int, groups: int) -> int:
        """Bits of what is stored beside the codes: a float32."""
        return 32
