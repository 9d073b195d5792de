"""The divergence from the float model, where a suite measured it."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting import headline
from ptqbench.reporting.headline import DIVERGENCES
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

BOUND = DIVERGENCES[1]


class Divergence(NamedTuple):
    """KL of a cell with its standard error over windows, and whether it is only a lower bound."""

    value: float
    stderr: float
    bound: bool


def divergences(results: pl.DataFrame) -> dict[Cell, Divergence]:
    """Of each quantized cell, on the text that the results name first."""
    rows = measured(results)
    own = rows.join(rows.select("suite", "task").head(1), on=["suite", "task"], how="semi", maintain_order="left")
    return {
        Cell.of(row): Divergence(row["value"], row["stderr"], row["metric"] == BOUND)
        for row in own.unique(KEY, keep="first", maintain_order=True).iter_rows(named=True)
    }


def measured(results: pl.DataFrame) -> pl.DataFrame:
    """The rows of divergences."""
    return headline.divergences(results).filter(pl.col("method") != FLOAT_METHOD, pl.col("value").is_finite())


def measured_on(results: pl.DataFrame) -> str:
    """The text of :func:`divergences`; empty without one."""
    return next(iter(measured(results)["task"]), "")
