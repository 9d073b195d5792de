"""FP8: E4M3 with one float32 scale for each block of 128 output and 128 input channels, as DeepSeek-V3 is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ptqbench.numbers.elements import E4M3, Element
from ptqbench.numbers.floats import FloatGrid

BITS = 8
GROUP_SIZE = 128
SCALE_BITS = 0  # of each row's group: 128 rows share one
ROWS = 128  # output channels of a block: of every linear a multiple


@dataclass(frozen=True)
class Fp8Block(FloatGrid):
    """8 bits a weight."""

    NUMBER: ClassVar = "fp8_block"
    ELEMENT: ClassVar[Element] = E4M3

    bits: int = BITS
    group_size: int = GROUP_SIZE

    def joint(self, scale: Tensor) -> Tensor:
        """The largest of each block's rows."""
        blocks = scale.unflatten(0, (-1, ROWS))
        return blocks.amax(1, keepdim=True).expand_as(blocks).flatten(0, 1).contiguous()

    def within(self, scale: Tensor, known: Tensor) -> Tensor:
        """The largest of each block's rows: of one group, ``[m]``."""
        return self.joint(scale.unsqueeze(1)).squeeze(1)

    def overhead(self, m: int, groups: int) -> int:
        """Bits of what is stored beside the codes: a float32 a block."""
        return 32 * (m // ROWS) * groups
