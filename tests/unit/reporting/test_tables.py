"""The table of the summary."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ptqbench.reporting.results import CELLS
from ptqbench.reporting.scores import SCORES
from ptqbench.reporting.tables import markdown, summary, text, wide

METHODS = [
    ("none", "float", "float", []),
    ("c", "rtn", "w4", []),
    ("c", "awq+gptq", "w4", ["compensation", "salience"]),
]


@pytest.fixture
def cells() -> pl.DataFrame:
    rows = [
        {
            "model": "m<b>",
            "calibration": calibration,
            "method": method,
            "scheme": scheme,
            "strategy": strategy,
            "bits": 4,
            "group_size": -1,
            "bits_per_weight": 4.25,
            "checkpoint_bytes": 10**6,
            "checkpoint_bits_per_parameter": 5.5,
            "dense": "no kernel" if method == "awq+gptq" else None,
            "proxy_loss": None if method == "float" else 0.123456,
            "fallbacks": ["0.q: reason"] if method == "rtn" else [],
            "propagate": False,
        }
        for calibration, method, scheme, strategy in METHODS
    ]
    return pl.DataFrame(rows, schema=CELLS)


@pytest.fixture
def scores() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for index, (calibration, method, scheme, _) in enumerate(METHODS):
        key = {"model": "m<b>", "calibration": calibration, "method": method, "scheme": scheme}
        rows.append({**key, "score": "ppl wiki@64 (ppl)", "value": 10.0 + index})
        if method != "rtn":
            rows.append({**key, "score": "acc % qa", "value": 60.0})
    return pl.DataFrame(rows, schema=SCORES)


def test_one_row_per_cell_in_the_order_of_the_plan(scores: pl.DataFrame, cells: pl.DataFrame) -> None:
    table = wide(scores, cells)
    assert table["method"].to_list() == ["float", "rtn", "awq+gptq"]
    assert table["ppl wiki@64 (ppl)"].to_list() == [10.0, 11.0, 12.0]
    assert table["acc % qa"].to_list() == [pytest.approx(60), None, pytest.approx(60)]
    assert table["strategy"].to_list() == ["-", "-", "compensation + salience"]
    assert table["MB"].to_list() == [1.0] * 3
    assert table["served"].to_list() == ["", "", "dense"]
    assert table["checkpoint bits/parameter"].to_list() == [5.5] * 3
    assert table["fallbacks"].to_list() == [0, 1, 0]


def test_a_report_without_scores_has_a_table(scores: pl.DataFrame, cells: pl.DataFrame) -> None:
    assert len(wide(scores.clear(), cells)) == 3


def test_markdown() -> None:
    table = pl.DataFrame({"a|b": ["x|y", None], "n": [1234.5678, 0.000012345]})
    assert markdown(table).splitlines()[2:] == ["| x\\|y | 1235 |", "|  | 1.234e-05 |"]
    assert text(12) == "12"


def test_the_summary_explains_its_columns(scores: pl.DataFrame, cells: pl.DataFrame) -> None:
    written = summary(scores, cells)
    assert written.startswith("# Results\n\n| model |")
    for word in ("Perplexity", "Proxy loss", "Fallbacks", "Standard errors"):
        assert word in written
