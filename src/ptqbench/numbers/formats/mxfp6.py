"""MXFP6: E2M3 in groups of 32 whose scales are powers of two (OCP Microscaling 1.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptqbench.numbers.elements import E2M3, Element
from ptqbench.numbers.powers import PowerGrid

BITS = 6
GROUP_SIZE = 32
SCALE_BITS = 8


@dataclass(frozen=True)
class Mxfp6(PowerGrid):
    """6.25 bits a weight."""

    NUMBER: ClassVar = "mxfp6"
    ELEMENT: ClassVar[Element] = E2M3

    bits: int = BITS
    group_size: int = GROUP_SIZE
