"""The table of the summary."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ptqbench.reporting.collect import CELLS, RESULTS
from ptqbench.reporting.tables import markdown, summary, text, wide

METHODS = [("none", "float", "bf16", []), ("c", "rtn", "w4", []), ("c", "awq+gptq", "w4", ["compensation", "salience"])]


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
            "checkpoint_bytes": 2**20,
            "proxy_loss": None if method == "float" else 0.123456,
            "fallbacks": ["0.q: reason"] if method == "rtn" else [],
            "propagate": False,
        }
        for calibration, method, scheme, strategy in METHODS
    ]
    return pl.DataFrame(rows, schema=CELLS)


@pytest.fixture
def results() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for index, (calibration, method, scheme, _) in enumerate(METHODS):
        key = {"model": "m<b>", "calibration": calibration, "method": method, "scheme": scheme}
        key |= {"backend": "transformers", "export": "dense", "stderr": 0.1, "n": 5}
        rows.append({**key, "suite": "ppl", "task": "wiki", "metric": "perplexity", "value": 10.0 + index})
        rows.append({**key, "suite": "ppl", "task": "wiki", "metric": "bits_per_byte", "value": 1.0})
        if method != "rtn":
            rows += [
                {**key, "suite": "qa", "task": t, "metric": "acc", "value": v} for t, v in (("a", 0.5), ("b", 0.7))
            ]
    return pl.DataFrame(rows, schema=RESULTS)


def test_a_task_of_two_suites_has_two_columns(results: pl.DataFrame, cells: pl.DataFrame) -> None:
    again = results.filter(method="rtn", metric="perplexity").with_columns(suite=pl.lit("twin"), value=pl.lit(7.0))
    table = wide(pl.concat([results, again]), cells)
    assert table["ppl wiki (ppl)"].to_list() == [10.0, 11.0, 12.0]
    assert table["ppl wiki (twin)"].to_list() == [None, 7.0, None]


def test_one_row_per_cell_in_the_order_of_the_plan(results: pl.DataFrame, cells: pl.DataFrame) -> None:
    table = wide(results, cells)
    assert table["method"].to_list() == ["float", "rtn", "awq+gptq"]
    assert table["ppl wiki"].to_list() == [10.0, 11.0, 12.0]
    assert table["acc % qa"].to_list() == [pytest.approx(60), None, pytest.approx(60)]
    assert table["strategy"].to_list() == ["-", "-", "compensation + salience"]
    assert table["MiB"].to_list() == [1.0] * 3
    assert table["fallbacks"].to_list() == [0, 1, 0]


def test_suites_of_one_kind_only(results: pl.DataFrame, cells: pl.DataFrame) -> None:
    assert "acc % qa" not in wide(results.filter(pl.col("metric") == "perplexity"), cells).columns
    assert "ppl wiki" not in wide(results.filter(pl.col("metric") == "acc"), cells).columns


def test_markdown() -> None:
    table = pl.DataFrame({"a|b": ["x|y", None], "n": [1234.5678, 0.000012345]})
    assert markdown(table).splitlines()[2:] == ["| x\\|y | 1235 |", "|  | 1.234e-05 |"]
    assert text(12) == "12"


def test_the_summary_explains_its_columns(results: pl.DataFrame, cells: pl.DataFrame) -> None:
    written = summary(results, cells)
    assert written.startswith("# Results\n\n| model |")
    for word in ("Perplexity", "Proxy loss", "Fallbacks", "Standard errors"):
        assert word in written
