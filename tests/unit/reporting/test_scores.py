"""Scores, differences and pairs, from results whose items are known."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import polars as pl
import pytest
import scored_tables

from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.results import ITEMS, RESULTS
from ptqbench.reporting.scores import (
    PAIRS,
    SCORES,
    Score,
    collect_scores,
    gather,
    pairs_table,
    scores_table,
    spread,
)
from ptqbench.reporting.tables import KEY

N = 40
CELLS = [("m", "none", "float", "float"), ("m", "c", "rtn", "w4"), ("m", "c", "gptq", "w4"), ("o", "c", "gptq", "w4")]


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
    found = row(table, CELLS[2], "ppl wiki (s)")
    a, b = losses(2), losses(0)
    assert found["delta"] == pytest.approx(math.exp(a.mean()) - math.exp(b.mean()))
    half = 2.0226909 * (a - b).std(ddof=1) / math.sqrt(N)  # Student's quantile of 39
    assert found["drop"] == pytest.approx(math.exp(a.mean() - b.mean()) - 1)
    assert found["drop_high"] == pytest.approx(math.exp((a - b).mean() + half) - 1)
    assert found["delta_high"] == pytest.approx(math.exp(b.mean()) * (math.exp((a - b).mean() + half) - 1))
    assert found["delta_low"] == pytest.approx(math.exp(b.mean()) * (math.exp((a - b).mean() - half) - 1))
    assert found["drop_stderr"] == pytest.approx(found["delta_stderr"] / math.exp(b.mean()))
    slope = math.exp(a.mean()) * (a - b)  # the delta method on the ratio
    assert found["delta_stderr"] == pytest.approx(slope.std(ddof=1) / math.sqrt(N), rel=0.05)
    assert (found["paired"], found["significant"], found["kind"]) == (True, True, "perplexity")
    assert found["delta_low"] < found["delta"] < found["delta_high"]
    assert found["comparable"] == pytest.approx(0.4 * a.mean())


def test_accuracy_is_the_mean_over_tasks_and_a_drop_is_a_loss() -> None:
    found = row(scores_table(collect_scores(*tables())), CELLS[1], "acc % qa")
    mine, base = (np.mean([right(index, task).mean() for task in range(2)]) for index in (1, 0))
    assert found["value"] == pytest.approx(100 * mine)
    assert found["drop"] == pytest.approx(1 - mine / base)
    changes = [right(1, task) - right(0, task) for task in range(2)]
    variance = sum(change.var(ddof=1) / N for change in changes) / 4
    low, high = (root for root in np.roots([1, -(1.96**2) / 2 / N, -(1.96**2) * variance]))
    assert found["delta_stderr"] == pytest.approx(100 * max(low, high) / 1.96, rel=1e-3)
    assert found["n"] == 2 * N


def test_the_float_model_is_its_own_measure_and_another_model_has_none() -> None:
    table = scores_table(collect_scores(*tables()))
    base, other = row(table, CELLS[0], "ppl wiki (s)"), row(table, CELLS[3], "ppl wiki (s)")
    assert (base["delta"], base["delta_stderr"], base["significant"], base["drop"]) == (0, 0, False, 0)
    assert other["delta"] is None
    assert other["drop"] is None


def test_without_items_the_difference_is_of_independent_measurements() -> None:
    found = row(scores_table(collect_scores(*tables(with_items=False))), CELLS[2], "ppl wiki (s)")
    errors = [math.exp(losses(i).mean()) * losses(i).std(ddof=1) / math.sqrt(N) for i in (2, 0)]
    ppl = [math.exp(losses(i).mean()) for i in (2, 0)]
    relative = math.hypot(*(error / value for error, value in zip(errors, ppl, strict=True)))
    assert found["delta_stderr"] == pytest.approx(ppl[0] * relative, rel=0.05)
    assert not found["paired"]


def test_every_two_cells_are_compared_in_what_is_comparable() -> None:
    table = pairs_table(collect_scores(*tables()))
    assert dict(table.schema) == PAIRS
    assert len(table) == 2 * 6
    found = table.filter(pl.col("score") == "ppl wiki (s)", a="m/c/rtn/w4", b="m/c/gptq/w4").row(0, named=True)
    gap = 0.4 * (losses(1) - losses(2))
    assert found["difference"] == pytest.approx(gap.mean())
    assert found["stderr"] == pytest.approx(gap.std(ddof=1) / math.sqrt(N), rel=0.1)
    independent = pairs_table(collect_scores(*tables(with_items=False)))
    wide = independent.filter(pl.col("score") == "ppl wiki (s)", a="m/c/rtn/w4", b="m/c/gptq/w4").row(0, named=True)
    spreads = [0.4 * losses(i).std(ddof=1) / math.sqrt(N) for i in (1, 2)]
    assert wide["stderr"] == pytest.approx(math.hypot(*spreads), rel=0.05)
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


SEEDS = range(int(os.environ.get("PTQBENCH_SOAK", 40)))


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_of_any_suites_are_those_of_brute_force(seed: int) -> None:
    made = scored_tables.make(seed)
    found = collect_scores(*made.frames)
    assert {(key.suite, key.task, key.window) for key in found} == set(made.expected)
    assert len({key.name for key in found}) == len(found), "two scores of one name"
    for key, scores in found.items():
        wanted = made.expected[key.suite, key.task, key.window]
        assert scores.keys() == wanted.keys()
        assert [score.value for score in scores.values()] == pytest.approx(list(wanted.values()))
    table = scores_table(found)
    assert len(table) == sum(map(len, made.expected.values()))
    width = table["delta_high"] - table["delta_low"]
    assert (width.filter(table["method"] != "float").drop_nulls() > 0).all()
    tasks = table.filter(pl.col("task").is_null(), pl.col("delta").is_not_null(), pl.col("method") != "float")
    assert tasks["paired"].all(), "documents of groups are known"


@pytest.mark.parametrize("seed", [3, 4])
def test_a_group_pairs_the_documents_of_its_tasks(seed: int) -> None:
    """Its difference varies as the documents' own, weighed; measured by drawing the documents anew."""
    generator = np.random.default_rng(seed)
    sizes, weights = {"a": 400, "b": 900}, {"a": 0.25, "b": 0.75}
    shared = {leaf: generator.random(n) < 0.7 for leaf, n in sizes.items()}
    own = {
        method: {
            leaf: np.where(generator.random(n) < 0.1, 1 - right, right)
            for (leaf, n), right in zip(sizes.items(), shared.values(), strict=True)
        }
        for method in ("float", "gptq")
    }
    rows, items = [], []
    for cell in (CELLS[0], CELLS[2]):
        key = {**dict(zip(KEY, cell, strict=True)), "suite": "mmlu", "metric": "acc"}
        right = own[cell[2]]
        for leaf, answers in right.items():
            rows.append(
                {**key, "task": leaf, "value": answers.mean(), "stderr": 0.1, "n": len(answers), "asked": False}
            )
            items += [{**key, "task": leaf, "item": i, "value": float(one)} for i, one in enumerate(answers)]
        mean = sum(weights[leaf] * right[leaf].mean() for leaf in sizes)
        group = {"leaves": list(weights), "weights": list(weights.values()), "asked": True}
        rows.append({**key, "task": "all", "value": mean, "stderr": math.nan, "n": 1300, **group})
    results = pl.DataFrame([{"backend": "b", "export": "e", **row} for row in rows], schema=RESULTS)
    found = row(scores_table(collect_scores(results, pl.DataFrame(items, schema=ITEMS))), CELLS[2], "acc % mmlu")
    drawn = []
    for _ in range(2000):
        chosen = {leaf: generator.integers(0, n, n) for leaf, n in sizes.items()}
        parts = [weights[leaf] * (own["gptq"][leaf] - own["float"][leaf])[chosen[leaf]].mean() for leaf in sizes]
        drawn.append(100 * sum(parts))
    assert found["paired"]
    assert found["delta_stderr"] == pytest.approx(np.std(drawn), rel=0.15)


def test_windows_of_another_length_are_another_score() -> None:
    results, items = tables()
    results = results.with_columns(window=pl.when(pl.col("method") == "rtn").then(pl.lit(256)).otherwise(pl.lit(1024)))
    found = scores_table(collect_scores(results, items)).filter(pl.col("kind") == "perplexity")
    assert set(found["score"]) == {"ppl wiki@256 (s)", "ppl wiki@1024 (s)"}
    assert found.filter(method="rtn")["delta"].to_list() == [None], "its float model has no such score"


def test_items_that_do_not_add_up_to_the_score_are_no_evidence() -> None:
    results, items = tables()
    other = scores_table(collect_scores(results, items.with_columns(value=pl.col("value") * 1.01)))
    assert not other["paired"].any()


@pytest.mark.parametrize("n", [2, 4, 30])
def test_perplexities_hold_the_truth_as_often_as_they_say(n: int) -> None:
    """Windows of skewed difficulty that all cells share, and a little of their own."""
    generator, pairs, truth = np.random.default_rng(n), 600, 0.1
    scores = {}
    for index in range(pairs):
        difficulty = generator.gamma(2, 1, n)
        for side in (0, 1):
            losses = difficulty + side * truth + generator.normal(0, 0.3, n)
            cell = ("m", "c", str(index), str(side))
            scores[cell] = Score(math.exp(losses.mean()), 1.0, 1.0, n, {"t": losses}, {"t": 1.0})
    gather(scores)
    inside = 0
    for index in range(pairs):
        a, b = (scores["m", "c", str(index), str(side)] for side in (1, 0))
        measured = math.log(a.value / b.value)
        inside += abs(measured - truth) <= NORMAL * spread("ppl t", a, b)
    assert inside / pairs == pytest.approx(0.95, abs=0.03)


def test_one_window_leaves_everything_open_and_equal_ones_the_resolution() -> None:
    results, items = tables()
    one = results.with_columns(value=pl.lit(math.exp(2.0)), n=pl.lit(1)).filter(pl.col("metric") != "acc")
    alone = scores_table(collect_scores(one, items.filter(item=0).with_columns(value=pl.lit(2.0))))
    assert alone.filter(method="gptq", model="m")["drop_high"].to_list() == [math.inf]
    same = one.with_columns(n=pl.lit(N))
    equal = scores_table(collect_scores(same, items.with_columns(value=pl.lit(2.0))))
    assert 1e-4 < equal.filter(method="gptq", model="m")["drop_high"].item() < 3e-4
