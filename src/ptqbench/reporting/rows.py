"""Rows of the tables, as the page reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ptqbench.cells import Cell


@dataclass(frozen=True)
class ScoreRow:
    """A cell's score beside its float model's, as ``scores`` holds it (:func:`scores.scores_table` says what each is).

    Tables of earlier versions have no seeds.
    """

    cell: Cell
    score: str
    value: float
    stderr: float | None
    comparable: float
    delta: float | None
    delta_stderr: float | None
    significant: bool | None
    drop: float | None
    drop_stderr: float | None
    drop_high: float | None
    paired: bool
    seeds: int | None = None
    seed_sd: float | None = None

    @property
    def loss(self) -> tuple[float, float] | None:
        """The relative loss and the upper end of its 95 % interval; a KL has none."""
        return None if self.drop is None or self.drop_high is None else (self.drop, self.drop_high)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ScoreRow:
        """From a row of the table, or of one that was joined with it."""
        names = {field.name for field in fields(cls)} & row.keys()
        return cls(cell=Cell.of(row), **{name: row[name] for name in names})
