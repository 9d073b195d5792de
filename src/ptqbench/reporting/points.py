"""What a figure of one model shows: a point for each cell, by bytes and by what it loses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.classes import Look, look
from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.kl import Divergence
from ptqbench.reporting.scores import better_when_lower
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD


@dataclass(frozen=True)
class Point:
    """A cell: bytes as served, what it loses (or its KL) with a 95 % interval, and how it is drawn."""

    key: Cell
    bytes: int
    value: float
    low: float
    high: float
    look: Look
    dense: bool = False

    @property
    def is_float(self) -> bool:
        """Whether it is the unquantized model."""
        return self.key[2] == FLOAT_METHOD

    @property
    def name(self) -> str:
        """As its label says it."""
        return "unquantized" if self.is_float else f"{self.key[2]} {self.key[3]}"


def loss_points(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str) -> list[Point]:
    """The relative losses of one score; what has no finite one is left out."""
    own = scores.filter(pl.col("model") == model, pl.col("score") == score, pl.col("drop").is_not_null())
    sized = own.join(cells.select(*KEY, "served_bytes", "strategy", "format"), on=KEY, maintain_order="left")
    found = []
    for row in sized.iter_rows(named=True):
        low, high = drop_low(score, row["drop"], row["drop_high"]), row["drop_high"]
        found.append(_point(row, row["drop"], low, high))
    return [point for point in found if math.isfinite(point.value)]


def kl_points(kls: Mapping[Cell, Divergence], cells: pl.DataFrame, model: str) -> list[Point]:
    """Divergences; the unquantized model has none from itself."""
    found = []
    for row in cells.filter(pl.col("model") == model).iter_rows(named=True):
        if row["method"] == FLOAT_METHOD:
            found.append(_point(row, 0.0, 0.0, 0.0))
        elif one := kls.get(Cell.of(row)):
            width = NORMAL * one.stderr
            found.append(_point(row, one.value, max(0.0, one.value - width), one.value + width))
    return found


def drop_low(score: str, drop: float, high: float) -> float:
    """The lower end of a loss whose upper end is ``high``: of a perplexity's on a logarithm."""
    if better_when_lower(score):
        return (1 + drop) ** 2 / (1 + high) - 1
    return 2 * drop - high


def _point(row: dict[str, Any], value: float, low: float, high: float) -> Point:
    return Point(Cell.of(row), row["served_bytes"], value, low, high, look(row["strategy"]), row["format"] == "dense")
