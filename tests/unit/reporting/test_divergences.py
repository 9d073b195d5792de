"""A KL to the float model among the scores, on the page and in its figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import report_data

from ptqbench.reporting.compare import differences
from ptqbench.reporting.figures import across_models
from ptqbench.reporting.page import page
from ptqbench.reporting.results import ITEMS, RESULTS
from ptqbench.reporting.scores import collect_scores, pairs_table, scores_table
from ptqbench.reporting.tables import KEY, summary

N, KL = 12, "kl wiki@64 (near)"


def distances(index: int, is_float: bool) -> np.ndarray:
    shared = np.random.default_rng(0).gamma(2, 0.01, N)
    own = np.random.default_rng(index + 1).normal(1 + index, 0.1, N)
    return np.zeros(N) if is_float else shared * own


def tables(metric: str = "kl", alone: bool = False) -> dict[str, pl.DataFrame]:
    """The made-up report with a suite of kind fidelity besides."""
    made: dict[str, pl.DataFrame] = report_data.tables()
    rows: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for index, key in enumerate(report_data.keys()):
        values = distances(index, key[2] == "float")
        where = {**dict(zip(KEY, key, strict=True)), "suite": "near", "task": "wiki", "metric": metric}
        stderr = values.std(ddof=1) / math.sqrt(N)
        shared = {"backend": "transformers", "export": "e", "n": N, "window": 64}
        rows.append({**where, **shared, "value": values.mean(), "stderr": stderr})
        rows.append({**where, **shared, "metric": f"{metric}_p99", "value": 1.0, "stderr": 0.1})
        items += [{**where, "item": i, "value": value} for i, value in enumerate(values)]
    extra = {"results": pl.DataFrame(rows, schema=RESULTS), "items": pl.DataFrame(items, schema=ITEMS)}
    made |= extra if alone else {name: pl.concat([made[name], extra[name]]) for name in extra}
    found = collect_scores(made["results"], made["items"])
    return {**made, "scores": scores_table(found), "pairs": pairs_table(found)}


def test_a_kl_is_a_score_and_no_relative_loss() -> None:
    own = tables()["scores"].filter(pl.col("score") == KL, pl.col("model") == "plain")
    assert len(own) == 10
    assert own["kind"].unique().to_list() == ["divergence"]
    assert own["drop"].null_count() == own["drop_stderr"].null_count() == own["drop_high"].null_count() == len(own)
    assert own["paired"].all()
    base, cell = (own.filter(pl.col("method") == method).row(0, named=True) for method in ("float", "gptq"))
    assert (base["value"], base["delta"], base["significant"]) == (0.0, 0.0, False)
    values = distances(report_data.keys().index(tuple(cell[name] for name in KEY)), False)
    assert cell["delta"] == cell["value"] == cell["comparable"] == pytest.approx(values.mean())
    half = 2.20098516 * values.std(ddof=1) / math.sqrt(N)  # Student's quantile of 11
    assert (cell["delta_low"], cell["delta_high"]) == pytest.approx(
        (values.mean() - half, values.mean() + half), rel=1e-4
    )
    assert cell["significant"]


def test_pairs_are_of_windows_and_of_one_model() -> None:
    pairs = tables()["pairs"].filter(pl.col("score") == KL)
    assert len(pairs) == 2 * 45
    keys = report_data.keys()
    row = pairs.filter(a="/".join(keys[1]), b="/".join(keys[2])).row(0, named=True)
    gap = distances(1, False) - distances(2, False)
    assert row["difference"] == pytest.approx(gap.mean())
    assert row["stderr"] == pytest.approx(2.20098516 / 1.95996 * gap.std(ddof=1) / math.sqrt(N), rel=1e-4)


def test_equal_distances_are_known_to_what_log_probabilities_are() -> None:
    made = tables()
    same = pl.col("suite") == "near"
    items = made["items"].with_columns(value=pl.when(same).then(0.02).otherwise("value"))
    results = made["results"].with_columns(value=pl.when(same).then(0.02).otherwise("value"))
    pairs = pairs_table(collect_scores(results, items)).filter(pl.col("score") == KL)
    assert pairs["stderr"].to_list() == pytest.approx([1e-4 * 0.2 * 2.20098516 / 1.95996] * len(pairs), rel=1e-3)


def test_a_bound_is_another_score() -> None:
    names = tables("kl_bound")["scores"]["score"].unique().to_list()
    assert "kl≥ wiki@64 (near)" in names
    assert KL not in names


@pytest.mark.parametrize("alone", [False, True])
def test_the_report_shows_it_and_loses_nothing_by_it(alone: bool) -> None:
    made = {
        name: table.filter(pl.col("model") == "plain") for name, table in tables(alone=alone).items() if name != "pairs"
    }
    made["pairs"] = pairs_table(collect_scores(made["results"], made["items"]))
    shown = page(made, {}, {})
    assert shown.count(f"<h4>{KL}</h4>") == 1, "a table of its own; a class has no loss by it, nor do models compare"
    assert KL in summary(made["scores"], made["cells"])
    assert ("kl" in across_models(made["scores"], made["cells"]).to_json()) is False


def test_two_reports_compare_their_distances() -> None:
    made = tables()["results"]
    found = differences(made, made)
    assert set(found["metric"]) >= {"kl", "bits_per_byte"}
