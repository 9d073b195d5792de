"""MXFP8: E4M3 in groups of 32 whose scales are powers of two (OCP Microscaling 1.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptqbench.numbers.elements import E4M3, Element
from ptqbench.numbers.powers import PowerGrid

BITS = 8
GROUP_SIZE = 32
SCALE_BITS = 8


@dataclass(frozen=True)
class Mxfp8(PowerGrid):
    """8.25 bits a weight."""

    NUMBER: ClassVar = "mxfp8"
    ELEMENT: ClassVar[Element] = E4M3

    bits: int = BITS
    group_size: int = GROUP_SIZE
