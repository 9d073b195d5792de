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
