"""Every number format that there is a file for."""

from __future__ import annotations

from ptqbench.members import members
from ptqbench.numbers.floats import FloatGrid
from ptqbench.numbers.grid import make
from ptqbench.schemes import FOLDER

NAMES = sorted(members(FOLDER))


def float_grids() -> list[FloatGrid]:
    """One of each."""
    found = [make(name, 0, 0, True) for name in NAMES]
    return [grid for grid in found if isinstance(grid, FloatGrid)]


def kernel_grids() -> list[FloatGrid]:
    """One of each that a kernel can tell from the others: it knows the element and how scales are stored."""
    return list({(grid.ELEMENT, grid.SCALES): grid for grid in reversed(float_grids())}.values())
