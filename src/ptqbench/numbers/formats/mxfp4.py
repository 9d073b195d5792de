"""MXFP4: E2M1 in groups of 32 whose scales are powers of two (OCP Microscaling 1.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptqbench.numbers.elements import E2M1, Element
from ptqbench.numbers.powers import PowerGrid

BITS = 4
GROUP_SIZE = 32
SCALE_BITS = 8


@dataclass(frozen=True)
class Mxfp4(PowerGrid):
    """4.25 bits a weight."""

    NUMBER: ClassVar = "mxfp4"
    ELEMENT: ClassVar[Element] = E2M1

    bits: int = BITS
    group_size: int = GROUP_SIZE
