"""Divergences of cells, from the results."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from ptqbench.reporting.kl import Divergence, divergences, measured_on
from ptqbench.reporting.results import RESULTS

CELL = {"model": "m", "calibration": "c", "scheme": "w4", "suite": "fidelity", "window": 64}


def row(method: str, task: str, metric: str, value: float) -> dict[str, Any]:
    return {**CELL, "method": method, "task": task, "metric": metric, "value": value, "stderr": 0.1}


def test_the_first_text_counts_a_bound_is_told_and_the_float_model_has_none() -> None:
    rows = [row("float", "wiki", "kl", 0.0), row("gptq", "wiki", "kl", 1.0), row("gptq", "books", "kl", 2.0)]
    rows += [row("awq", "wiki", "kl_bound", 0.5), row("rtn", "wiki", "kl_p99", 9.0), row("rtn", "wiki", "kl", math.inf)]
    table = pl.DataFrame(rows, schema=RESULTS)
    assert divergences(table) == {
        ("m", "c", "gptq", "w4"): Divergence(1.0, 0.1, False),
        ("m", "c", "awq", "w4"): Divergence(0.5, 0.1, True),
    }
    assert measured_on(table) == "wiki"
    assert measured_on(table.clear()) == ""
