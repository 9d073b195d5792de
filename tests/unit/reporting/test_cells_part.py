"""What cells cost: one unit of bytes, by rising bits."""

from __future__ import annotations

import re

import polars as pl
import pytest
import report_data

from ptqbench.reporting.cells_part import cost
from ptqbench.reporting.results import RESULTS
from ptqbench.reporting.tables import KEY


def rows(markup: str) -> list[list[str]]:
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr.*?</tr>", markup, re.DOTALL)]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in found]


@pytest.mark.parametrize(("factor", "unit", "served"), [(1, "MB", "2.001"), (10_000, "GB", "20.01")])
def test_bytes_have_one_unit_and_a_servers_gibibytes_are_turned_into_it(factor: int, unit: str, served: str) -> None:
    cells = report_data.cells().filter(pl.col("model") == "plain", pl.col("method").is_in(["rtn", "float"]))
    sized = [pl.col(name) * factor for name in ("served_bytes", "checkpoint_bytes", "peak_memory_bytes", "added_bytes")]
    cells = cells.with_columns(sized)
    measured = {**dict(zip(KEY, cells.select(KEY).row(1), strict=True)), "suite": "speed", "task": "memory"}
    gib = {**measured, "metric": "weights_gib", "value": 2.0 * factor / 1000}
    table = rows(cost(cells, pl.DataFrame([gib], schema=RESULTS), "costs"))
    assert [row[0] for row in table[1:]] == ["rtn w2", "rtn w3", "rtn w4", "float float"]
    head = table[0]
    assert all(f", {unit}" in name for name in head if "memory" in name or "served" in name or "packed" in name)
    other = {"MB": "GB", "GB": "MB"}[unit]
    assert not any(other in name or "GiB" in name or "gib" in name for name in head)
    by = dict(zip(head, next(row for row in table if row[0] == "rtn w4"), strict=True))
    assert by[f"weights, {unit}, memory"] == ("2.147" if unit == "MB" else "21.47")
    least = dict(zip(head, table[1], strict=True))
    assert float(least[f"served, {unit}"]) == pytest.approx(float(served), rel=0.01)
