"""Rows of ``scores``, also of tables that an earlier version wrote."""

from __future__ import annotations

import report_data

from ptqbench.reporting.rows import ScoreRow


def test_every_row_is_read() -> None:
    table = report_data.tables(near=True)["scores"]
    rows = [ScoreRow.of(row) for row in table.iter_rows(named=True)]
    assert [tuple(row.cell) for row in rows] == table.select(table.columns[:4]).rows()
    assert [row.value for row in rows] == table["value"].to_list()
    assert [row.loss is None for row in rows] == table["drop"].is_null().to_list()


def test_a_table_without_seeds() -> None:
    old = report_data.tables()["scores"].drop("seeds", "seed_sd").row(0, named=True)
    assert (ScoreRow.of(old).seeds, ScoreRow.of(old).seed_sd) == (None, None)
