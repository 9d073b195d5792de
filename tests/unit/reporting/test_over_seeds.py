"""Seeds of a cell taken together: their mean, its errors over windows, and the spread over seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import report_data

from ptqbench.cells import Cell
from ptqbench.reporting.answer import answer
from ptqbench.reporting.over_seeds import merged
from ptqbench.reporting.page import page
from ptqbench.reporting.recommend import Constraints, candidates, recommend
from ptqbench.reporting.results import CELLS, ITEMS, RESULTS
from ptqbench.reporting.tables import KEY, summary
from ptqbench.reporting.written import compared

N, SEEDS = 30, (0, 1, 2)
MEAN = Cell("plain", "c@seeds", "gptq", "w4")
MEMBERS = [Cell("plain", "c" if seed == 0 else f"c@seed{seed}", "gptq", "w4") for seed in SEEDS]
FLOAT = Cell("plain", "none", "float", "float")
PPL, ACC = "ppl wiki@64 (text)", "acc % qa<i>"


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    """One model of the made-up report, with two seeds more of a cell."""
    made = {
        name: table.filter(pl.col("model") == "plain")
        for name, table in report_data.tables().items()
        if "model" in table.columns
    }
    cell, results, items = (made[name].filter(*where(MEMBERS[0])) for name in ("cells", "results", "items"))
    for seed in SEEDS[1:]:
        change = np.random.default_rng(seed).normal(0.02 * seed, 0.01, N)
        calibration = pl.lit(f"c@seed{seed}").alias("calibration")
        made["cells"] = pl.concat([made["cells"], cell.with_columns(calibration)])
        losses = items.filter(pl.col("metric") == "perplexity")["value"].to_numpy() + change
        own = items.with_columns(calibration)
        is_loss = pl.col("metric") == "perplexity"
        moved = own.filter(is_loss).with_columns(value=pl.Series(losses))
        made["items"] = pl.concat([made["items"], moved, own.filter(~is_loss)]).select(*ITEMS)
        bits = pl.when(pl.col("metric") == "bits_per_byte").then(0.4 * losses.mean())
        value = bits.when(is_loss).then(math.exp(losses.mean())).otherwise("value")
        made["results"] = pl.concat([made["results"], results.with_columns(calibration, value=value)]).select(*RESULTS)
    members = {cell[1]: seed for cell, seed in zip(MEMBERS, SEEDS, strict=True)}
    is_member = (pl.col("method") == "gptq") & (pl.col("scheme") == "w4")
    seed = pl.when(is_member).then(pl.col("calibration").replace_strict(members, default=None, return_dtype=pl.Int64))
    of = pl.when(is_member).then(pl.lit("/".join(MEAN)))
    made["cells"] = made["cells"].with_columns(seed=seed, seeds_of=of).select(*CELLS)
    return {**made, **compared(made)}


def where(cell: tuple[str, ...]) -> list[pl.Expr]:
    return [pl.col(name) == value for name, value in zip(KEY, cell, strict=True)]


def row(table: pl.DataFrame, cell: tuple[str, ...], score: str) -> dict[str, Any]:
    return table.filter(*where(cell), pl.col("score") == score).row(0, named=True)


def losses(tables: dict[str, pl.DataFrame], cell: tuple[str, ...]) -> np.ndarray:
    return tables["items"].filter(*where(cell), pl.col("metric") == "perplexity")["value"].to_numpy()


def test_the_mean_and_both_of_its_spreads(tables: dict[str, pl.DataFrame]) -> None:
    found = row(tables["scores"], MEAN, PPL)
    each = np.stack([losses(tables, cell) for cell in MEMBERS])
    together = each.mean(0)
    assert found["value"] == pytest.approx(math.exp(each.mean()))
    assert found["comparable"] == pytest.approx(0.4 * each.mean())
    assert found["stderr"] == pytest.approx(found["value"] * together.std(ddof=1) / math.sqrt(N))
    assert (found["seeds"], found["paired"]) == (3, True)
    assert found["seed_sd"] == pytest.approx(np.exp(each.mean(1)).std(ddof=1))
    base = losses(tables, FLOAT)
    half = 2.045229642 * (together - base).std(ddof=1) / math.sqrt(N)  # Student's quantile of 29
    assert found["drop"] == pytest.approx(math.exp((together - base).mean()) - 1)
    assert found["drop_high"] == pytest.approx(math.exp((together - base).mean() + half) - 1, rel=1e-4)
    single = row(tables["scores"], MEMBERS[1], PPL)
    assert (single["seeds"], single["seed_sd"]) == (None, None)
    accuracy = row(tables["scores"], MEAN, ACC)
    assert accuracy["value"] == pytest.approx(row(tables["scores"], MEMBERS[0], ACC)["value"])
    assert accuracy["seed_sd"] == 0.0


def test_pairs_of_a_mean(tables: dict[str, pl.DataFrame]) -> None:
    other = Cell("plain", "c", "rtn", "w4")
    pairs = tables["pairs"].filter(score=PPL)
    one = pairs.filter(a=other.path, b=MEAN.path).row(0, named=True)
    each = np.stack([losses(tables, cell) for cell in MEMBERS])
    gap = 0.4 * (losses(tables, other) - each.mean(0))
    assert one["difference"] == pytest.approx(gap.mean())
    assert one["stderr"] == pytest.approx(2.045229642 / 1.959964 * gap.std(ddof=1) / math.sqrt(N), rel=1e-4)
    assert one["seed_sd"] == pytest.approx(0.4 * each.mean(1).std(ddof=1))
    assert pairs.filter(a=other.path, b=MEMBERS[0].path)["seed_sd"].to_list() == [None]


def test_what_is_shown_has_one_row_for_them(tables: dict[str, pl.DataFrame]) -> None:
    shown = merged(tables)
    assert len(shown["cells"]) == len(tables["cells"]) - 2
    assert set(map(tuple, shown["scores"].select(KEY).rows())) == set(map(tuple, shown["cells"].select(KEY).rows()))
    assert row(shown["scores"], MEMBERS[0], PPL)["value"] == row(tables["scores"], MEAN, PPL)["value"]
    values = shown["results"].filter(*where(MEMBERS[0]), pl.col("metric") == "perplexity")["value"].to_list()
    assert values == [row(tables["scores"], MEAN, PPL)["value"]]
    n = len(shown["cells"])
    for score in (PPL, ACC):
        names = shown["pairs"].filter(score=score).select("a", "b").rows()
        assert len({frozenset(pair) for pair in names}) == len(names) == n * (n - 1) // 2
    assert shown["scores"]["score"].unique(maintain_order=True).to_list() == [PPL, ACC]
    text = summary(shown["scores"], shown["cells"])
    assert f"{PPL} sd over seeds" in text
    assert "c@seed1" not in text
    assert " over 3 seeds</small>" in page(shown, {}, {})


def test_they_are_one_candidate_which_says_so(tables: dict[str, pl.DataFrame]) -> None:
    shown = merged(tables)
    found = candidates(shown["cells"], shown["scores"], shown["results"])
    assert len(found) == 10
    cell = next(one for one in found if one.key == MEMBERS[0])
    assert cell.drop[PPL][0] == row(tables["scores"], MEAN, PPL)["drop"]
    assert any("means over 3 seeds, which vary (ppl wiki@64 (text) by ±" in line for line in cell.caveats)
    stderrs = {pair[:3]: pair[3] for pair in shown["pairs"].select("score", "a", "b", "stderr").rows()}
    wanted = Constraints((PPL, ACC))
    assert answer(recommend(found, wanted, stderrs), wanted)


def test_without_seeds_the_tables_are_what_they_were(tables: dict[str, pl.DataFrame]) -> None:
    alone = {**tables, "cells": tables["cells"].with_columns(seeds_of=pl.lit(None, pl.String))}
    assert merged(alone) is alone
    again = compared(alone)["scores"]
    assert again["seeds"].null_count() == len(again)
    assert not again.filter(pl.col("calibration") == "c@seeds").height


def test_seeds_without_items_are_as_sure_as_one(tables: dict[str, pl.DataFrame]) -> None:
    found = row(compared({**tables, "items": tables["items"].clear()})["scores"], MEAN, PPL)
    assert not found["paired"]
    each = [row(tables["scores"], cell, PPL) for cell in MEMBERS]
    stored = tables["results"].filter(pl.col("metric") == "perplexity")
    relative = [
        stored.filter(*where(cell))["stderr"].item() / one["value"] for cell, one in zip(MEMBERS, each, strict=True)
    ]
    assert found["stderr"] == pytest.approx(found["value"] * np.mean(relative))
