"""The name of a cell, by which the plan, the folders and the tables know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """One (model, calibration set, method, scheme)."""

    model: str
    calibration: str
    method: str
    scheme: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Cell:
        """The cell of a table's row."""
        return cls(*(row[name] for name in cls._fields))

    @classmethod
    def parse(cls, path: str) -> Cell:
        """From its :attr:`path`."""
        return cls(*path.split("/"))

    @property
    def path(self) -> str:
        """``model/calibration/method/scheme``, which no two cells share: its place in every stage's folder."""
        return "/".join(self)

    @property
    def columns(self) -> dict[str, str]:
        """What :meth:`of` reads."""
        return self._asdict()
