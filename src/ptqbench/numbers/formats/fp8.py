"""FP8: E4M3 with one float32 scale for each output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptqbench.numbers.elements import E4M3, Element
from ptqbench.numbers.floats import FloatGrid

BITS = 8
GROUP_SIZE = -1
SCALE_BITS = 32


@dataclass(frozen=True)
class Fp8(FloatGrid):
    """8 bits a weight."""

    NUMBER: ClassVar = "fp8"
    ELEMENT: ClassVar[Element] = E4M3

    bits: int = BITS
    group_size: int = GROUP_SIZE
