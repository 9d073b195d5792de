"""Scores, differences and pairs, from results whose items are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from ptqbench.reporting.collect import ITEMS, RESULTS
from ptqbench.reporting.scores import PAIRS, SCORES, collect_scores, pairs_table, scores_table
from ptqbench.reporting.tables import KEY

N = 40
CELLS = [("m", "none", "float", "bf16"), ("m", "c", "rtn", "w4"), ("m", "c", "gptq", "w4"), ("o", "c", "gptq", "w4")]


def losses(index: int) -> np.ndarray:
    """Losses of windows: shared difficulty, a worse model for a higher index."""
    shared = np.random.default_rng(0).gamma(4, 0.5, N)
    return shared + 0.1 * index + np.random.default_rng(index + 1).normal(0, 0.05, N)


def right(index: int, task: int) -> np.ndarray:
    """Right answers of a task."""
    return (np.random.default_rng([index, task]).random(N) < 0.8 - 0.1 * index).astype(float)


def tables(with_items: bool = True) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for index, cell in enumerate(CELLS):
        key = {**dict(zip(KEY, cell, strict=True))}
        shared = {**key, "backend": "b", "export": "e", "n": N}
        values = losses(index)
        ppl, spread = math.exp(values.mean()), values.std(ddof=1) / math.sqrt(N)
        common = {**shared, "suite": "s", "task": "wiki"}
        rows.append({**common, "metric": "perplexity", "value": ppl, "stderr": ppl * spread})
        rows.append({**common, "metric": "bits_per_byte", "value": 0.4 * values.mean()})
        found = [("s", "wiki", "perplexity", values)]
        for task in range(2):
            answers = right(index, task)
            error = answers.std(ddof=1) / math.sqrt(N)
            common = {**shared, "suite": "qa", "task": f"t{task}", "metric": "acc"}
            rows.append({**common, "value": answers.mean(), "stderr": error})
            found.append(("qa", f"t{task}", "acc", answers))
        for suite, task, metric, numbers in found:
            where = {**key, "suite": suite, "task": task, "metric": metric}
            items += [{**where, "item": i, "value": value} for i, value in enumerate(numbers)]
    return pl.DataFrame(rows, schema=RESULTS), pl.DataFrame(items if with_items else [], schema=ITEMS)


def row(table: pl.DataFrame, cell: tuple[str, ...], score: str) -> dict[str, Any]:
    where = [pl.col(name) == value for name, value in zip(KEY, cell, strict=True)]
    return table.filter(*where, pl.col("score") == score).row(0, named=True)


def test_differences_are_paired_window_by_window() -> None:
    table = scores_table(collect_scores(*tables()))
    assert dict(table.schema) == SCORES
    assert len(table) == len(CELLS) * 2
    found = row(table, CELLS[2], "ppl wiki")
    a, b = losses(2), losses(0)
    assert found["delta"] == pytest.approx(math.exp(a.mean()) - math.exp(b.mean()))
    slope = math.exp(a.mean()) * a - math.exp(b.mean()) * b  # the delta method on the difference
    assert found["delta_stderr"] == pytest.approx(slope.std(ddof=1) / math.sqrt(N), rel=0.1)
    assert found["drop"] == pytest.approx(math.exp(a.mean() - b.mean()) - 1)
    assert found["drop_stderr"] == pytest.approx(found["delta_stderr"] / math.exp(b.mean()))
    assert (found["paired"], found["significant"], found["kind"]) == (True, True, "perplexity")
    assert found["delta_low"] < found["delta"] < found["delta_high"]
    assert found["comparable"] == pytest.approx(0.4 * a.mean())


def test_accuracy_is_the_mean_over_tasks_and_a_drop_is_a_loss() -> None:
    found = row(scores_table(collect_scores(*tables())), CELLS[1], "acc % qa")
    mine, base = (np.mean([right(index, task).mean() for task in range(2)]) for index in (1, 0))
    assert found["value"] == pytest.approx(100 * mine)
    assert found["drop"] == pytest.approx(1 - mine / base)
    changes = [right(1, task) - right(0, task) for task in range(2)]
    wanted = 100 * math.sqrt(sum(change.var(ddof=1) / N for change in changes)) / 2
    assert found["delta_stderr"] == pytest.approx(wanted, rel=0.1)
    assert found["n"] == 2 * N


def test_the_float_model_is_its_own_measure_and_another_model_has_none() -> None:
    table = scores_table(collect_scores(*tables()))
    base, other = row(table, CELLS[0], "ppl wiki"), row(table, CELLS[3], "ppl wiki")
    assert (base["delta"], base["delta_stderr"], base["significant"], base["drop"]) == (0, 0, False, 0)
    assert other["delta"] is None
    assert other["drop"] is None


def test_without_items_the_difference_is_of_independent_measurements() -> None:
    found = row(scores_table(collect_scores(*tables(with_items=False))), CELLS[2], "ppl wiki")
    errors = [math.exp(losses(i).mean()) * losses(i).std(ddof=1) / math.sqrt(N) for i in (2, 0)]
    assert found["delta_stderr"] == pytest.approx(math.hypot(*errors))
    assert not found["paired"]


def test_every_two_cells_are_compared_in_what_is_comparable() -> None:
    table = pairs_table(collect_scores(*tables()))
    assert dict(table.schema) == PAIRS
    assert len(table) == 2 * 6
    found = table.filter(pl.col("score") == "ppl wiki", a="m/c/rtn/w4", b="m/c/gptq/w4").row(0, named=True)
    gap = 0.4 * (losses(1) - losses(2))
    assert found["difference"] == pytest.approx(gap.mean())
    assert found["stderr"] == pytest.approx(gap.std(ddof=1) / math.sqrt(N), rel=0.1)
    independent = pairs_table(collect_scores(*tables(with_items=False)))
    wide = independent.filter(pl.col("score") == "ppl wiki", a="m/c/rtn/w4", b="m/c/gptq/w4").row(0, named=True)
    spreads = [0.4 * losses(i).std(ddof=1) / math.sqrt(N) for i in (1, 2)]
    assert wide["stderr"] == pytest.approx(math.hypot(*spreads))
    assert wide["stderr"] > 3 * found["stderr"]


def test_a_float_model_that_scores_nothing_has_nothing_to_lose() -> None:
    results, items = tables()
    nothing = (pl.col("method") == "float") & (pl.col("metric") == "acc")
    results = results.with_columns(value=pl.when(nothing).then(0.0).otherwise("value"))
    table = scores_table(collect_scores(results, items))
    rows = table.filter((pl.col("score") == "acc % qa") & (pl.col("model") == "m"))
    assert rows["drop"].to_list() == [0.0] * 3
    assert rows["drop_stderr"].to_list() == [0.0] * 3
    assert rows.filter(pl.col("method") == "rtn")["delta"].item() > 0
