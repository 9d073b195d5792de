"""A cell's name, as path and as columns."""

from __future__ import annotations

import polars as pl

from ptqbench.cells import Cell

CELL = Cell("m", "text@seed1", "quarot+gptq", "w4g128")


def test_path() -> None:
    assert CELL.path == "m/text@seed1/quarot+gptq/w4g128"
    assert Cell.parse(CELL.path) == CELL


def test_columns() -> None:
    table = pl.DataFrame([{**CELL.columns, "value": 1.0}])
    assert Cell.of(table.row(0, named=True)) == CELL
