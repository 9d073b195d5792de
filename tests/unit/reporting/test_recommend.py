"""Recommendations against brute force over the table."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from recommendations import FLOAT, KL, NAMES, SIGNS, WIDTHS, constraints, table

from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.reporting.answer import answer, doubts, left_out
from ptqbench.reporting.recommend import (
    PREFERENCES,
    Candidate,
    Constraints,
    candidates,
    chosen_scores,
    parse_bytes,
    parse_share,
    recommend,
)
from ptqbench.reporting.results import CELLS, RESULTS
from ptqbench.reporting.scores import SCORES


def loss(one: Candidate, score: str) -> float:
    return SIGNS[score] * one.comparable[score]


def clearly_worse(a: Candidate, b: Candidate, score: str) -> bool:
    return a is not b and loss(a, score) - loss(b, score) > 1.959963985 * WIDTHS[score]


SEEDS = range(int(os.environ.get("PTQBENCH_SOAK", 100)))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_recommendation_is_that_of_brute_force(seed: int) -> None:
    cells, stderrs = table(seed)
    wanted = constraints(seed)
    scores, losses = wanted.scores, [score for score in wanted.scores if score != KL]
    if losses and not wanted.named:
        scores = tuple(losses)  # a KL ranks, where it is asked to or there is nothing else
    if not losses and wanted.max_drop is not None:
        assert recommend(cells, wanted, stderrs).scores == (), "it is no loss that a limit could hold"
        return
    first = scores[0]
    has = {one.id: {*one.drop, *({KL} & set(one.comparable))} for one in cells}
    whole = [one for one in cells if set(scores) <= has[one.id]]
    good = [
        one
        for one in whole
        if (wanted.memory is None or one.bytes <= wanted.memory)
        and (wanted.max_drop is None or all(one.drop[score][1] <= wanted.max_drop for score in losses))
        and (wanted.tokens_per_second is None or (one.tokens_per_second or -1) >= wanted.tokens_per_second)
    ]
    found = recommend(cells, wanted, stderrs)
    assert found.scores == tuple(scores)
    assert {one.id for one, _ in found.lacking} == {one.id for one in cells if one not in whole}
    assert all(set(lacked) == set(scores) - has[one.id] for one, lacked in found.lacking)
    best = found.best
    if not good:
        assert best is None
        assert found.miss in whole
        assert found.violations
        return
    assert best in good
    assert best is not None
    base = next((one for one in good if one.is_float), None)
    vain = [one for one in good if base and one is not base and one.bytes >= 0.99 * base.bytes]
    vain = [one for one in vain if not any(clearly_worse(base, one, score) for score in scores)] if base else []
    sound = [one for one in good if one not in vain]
    assert best in sound, "as large as the float model and no better"
    leader = min(sound, key=lambda one: (loss(one, first), one.bytes, one.id))
    if wanted.prefer == "quality":
        assert best is leader
        return
    if wanted.max_drop is None:
        sound = [one for one in sound if not any(clearly_worse(one, leader, score) for score in scores)]
        assert best in sound, "smaller, and worse by more than chance"
    cost = (lambda one: one.bytes) if wanted.prefer == "size" else lambda one: 1 / (one.tokens_per_second or 1e-30)
    least = min(map(cost, sound))
    alike = [one for one in sound if cost(one) <= 1.01 * least]
    assert loss(best, first) == min(loss(one, first) for one in alike)
    assert best in alike


def test_the_seeds_cover_every_answer() -> None:
    answers = [recommend(table(s)[0], constraints(s), table(s)[1]) for s in range(100)]
    assert {len(answer.satisfying) > 1 for answer in answers} == {True, False}
    assert {answer.best is None for answer in answers} == {True, False}
    assert {answer.significant for answer in answers} == {True, False}
    assert {answer.best.is_float for answer in answers if answer.best} == {True, False}
    assert {answer.unsure is None for answer in answers} == {True, False}
    assert {bool(answer.lacking) for answer in answers} == {True, False}


NAMELESS = Cell("m", "c", "", "")


def cell(name: str, size: float, drop: float, high: float, key: Cell = NAMELESS) -> Candidate:
    return Candidate(name, "m", int(size), None, {NAMES[0]: 1 + drop}, {NAMES[0]: (drop, high)}, key=key)


def test_scores_that_few_cells_have_do_not_count_unless_they_are_named() -> None:
    most = [cell(f"c{i}", 4 + i, 0.01, 0.02) for i in range(3)]
    drops = {**most[0].drop, "acc % qa": (0.5, 0.6)}
    both = replace(most[0], id="both", drop=drops, comparable=dict.fromkeys(NAMES, 1.0))
    stderrs = {(NAMES[0], a.id, b.id): 0.1 for a in [*most, both] for b in [*most, both]}
    found = recommend([*most, both], Constraints(NAMES, max_drop=0.05, named=False), stderrs)
    assert found.scores == NAMES[:1]
    assert found.uncounted == {"acc % qa": 1}
    assert found.lacking == []
    assert "acc % qa does not count, as only 1 quantized cell has it" in left_out(found)
    named = recommend([*most, both], Constraints(NAMES, max_drop=0.05), stderrs)
    assert named.scores == NAMES
    assert [one.id for one, _ in named.lacking] == ["c0", "c1", "c2"]
    assert "c0 is not judged: it has no acc % qa" in left_out(named)


def test_sizes_that_hardly_differ_are_decided_by_quality() -> None:
    cells = [cell("better", 10_006, 0.001, 0.002), cell("worse", 10_000, 0.04, 0.05)]
    stderrs = {(NAMES[0], "better", "worse"): 0.001}
    found = recommend(cells, Constraints(NAMES[:1], max_drop=0.05, prefer="size"), stderrs)
    assert [one.id for one in found.satisfying] == ["better", "worse"]
    smaller = [cells[0], replace(cells[1], bytes=5_000)]
    within = recommend(smaller, Constraints(NAMES[:1], max_drop=0.05, prefer="size"), stderrs)
    assert within.best is not None
    assert within.best.id == "worse", "what the limit allows"
    without = recommend(smaller, Constraints(NAMES[:1], prefer="size"), stderrs)
    assert [one.id for one in without.satisfying] == ["better"], "nothing was allowed"


def test_the_float_model_is_a_candidate_and_dense_cells_do_not_beat_it() -> None:
    base = cell("float", 1000, 0.0, 0.0, FLOAT)
    cells = [base, cell("dense", 999, 0.09, 0.1), cell("lucky", 999, -0.001, 0.01), cell("small", 300, 0.3, 0.31)]
    stderrs = {(NAMES[0], a.id, b.id): 0.01 for a in cells for b in cells}
    for prefer in PREFERENCES:
        for limit in (None, 0.2):
            found = recommend(cells, Constraints(NAMES[:1], max_drop=limit, prefer=prefer), stderrs)
            assert found.best is base, (prefer, limit)
    assert recommend(cells, Constraints(NAMES[:1], max_drop=0.4, prefer="size"), stderrs).best is cells[3]


def test_a_limit_is_held_to_with_the_upper_end() -> None:
    base = cell("float", 100, 0.0, 0.0, FLOAT)
    cells = [base, cell("none changed", 30, 0.0, 0.0188), cell("sure", 60, 0.002, 0.009)]
    stderrs = {(NAMES[0], a.id, b.id): 0.01 for a in cells for b in cells}
    found = recommend(cells, Constraints(NAMES[:1], max_drop=0.01, prefer="size"), stderrs)
    assert found.best is cells[2]
    assert found.unsure is cells[1]
    assert "none changed would be preferred if its measured loss were exact" in doubts(found, Constraints(NAMES[:1]))[1]
    assert recommend(cells, Constraints(NAMES[:1], max_drop=0.02, prefer="size"), stderrs).best is cells[1]


def test_the_nearest_miss_is_the_one_that_misses_least() -> None:
    cells = [cell("large", 1500, 0.0, 0.0), cell("near", 1020, 0.03, 0.03), cell("lossy", 500, 0.2, 0.2)]
    found = recommend(cells, Constraints(NAMES[:1], memory=1000, max_drop=0.01), {})
    assert found.best is None
    assert found.miss is not None
    assert found.miss.id == "near"
    assert found.violations == {"memory": pytest.approx(0.02), NAMES[0]: pytest.approx(0.02)}
    assert recommend([], Constraints(NAMES[:1]), {}).miss is None
    assert recommend(cells, Constraints(("acc % qa",)), {}).scores == ()


def test_a_kl_ranks_and_is_no_loss() -> None:
    cells = [
        replace(cell(f"c{i}", 9 - i, 0.01, 0.02), comparable={NAMES[0]: 1.0, KL: kl}) for i, kl in enumerate((2, 1))
    ]
    stderrs = {(score, "c0", "c1"): 0.1 for score in (KL, NAMES[0])}
    wanted = Constraints((KL,))
    found = recommend(cells, wanted, stderrs)
    assert [one.id for one in found.satisfying] == ["c1", "c0"]
    assert answer(found, wanted)[1] == "        8 B, kl wiki@64 (near): 1.00000 nats from the float model"
    assert doubts(found, wanted)[0] == f"{KL}: 1 ± 0.1 nats better than the next, c0 (significant)"
    assert recommend(cells, Constraints((KL, *NAMES), named=False), stderrs).scores == NAMES[:1]
    limited = replace(wanted, max_drop=0.01)
    assert answer(recommend(cells, limited, stderrs), limited) == [
        "none, because a KL is no relative loss that a limit could hold: leave the limit out"
    ]


def test_what_was_not_measured_satisfies_nothing() -> None:
    found = recommend([cell("a", 1, 0.0, 0.0)], Constraints(NAMES[:1], tokens_per_second=1.0), {})
    assert found.violations == {"tokens per second": math.inf}


def test_candidates_carry_what_may_not_be_hidden() -> None:
    key = {"model": "m", "calibration": "c", "method": "gptq", "scheme": "w2"}
    row = {
        **key,
        "format": "dense",
        "dense": "no kernel",
        "serve": "vllm serve results/packed/m --q h",
        "served_bytes": 100,
        "checkpoint": "results/packed/m",
        "serve_flags": ["--q", "h"],
    }
    row |= {"fallbacks": ["0.q: not factored"]}
    base: dict[str, Any] = {**key, "method": "float", "served_bytes": 200, "fallbacks": []}
    score = {**key, "score": "ppl wiki", "drop": 0.01, "drop_high": 0.02, "comparable": 1.1, "paired": False}
    rates = [
        {**key, "task": f"batch {b}", "metric": "tokens_per_second", "value": v} for b, v in ((64, 900.0), (1, 40.0))
    ]
    found = candidates(
        pl.DataFrame([base, row], schema=CELLS),
        pl.DataFrame([score], schema=SCORES),
        pl.DataFrame(rates, schema=RESULTS),
    )
    unquantized, only = found
    assert unquantized.is_float
    assert unquantized.serve == "", "the table says that vLLM does not serve it"
    assert "vLLM does not serve this checkpoint; transformers loads it" in unquantized.caveats
    assert (only.id, only.bytes, only.tokens_per_second) == ("m/c/gptq/w2", 100, 40.0)
    assert only.drop == {"ppl wiki": (0.01, 0.02)}
    assert only.serve == "vllm serve results/packed/m --q h"
    fell, dense, unpaired = only.caveats
    assert "1 layer did not run as asked: 0.q: not factored" in fell
    assert "served dense" in dense
    assert "no kernel" in dense
    assert "item by item" in unpaired


@pytest.mark.parametrize(
    ("text", "value"), [("24GB", 24e9), ("24 gib", 24 * 2**30), ("0.5MiB", 2**19), ("100B", 100.0)]
)
def test_bytes(text: str, value: float) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("1%", 0.01), ("0.02", 0.02), ("0.5 %", 0.005)])
def test_shares(text: str, value: float) -> None:
    assert parse_share(text) == pytest.approx(value)


def test_mistakes_are_named() -> None:
    for text in ("24", "GB", "24 horses", ""):
        with pytest.raises(UserError, match="--memory is"):
            parse_bytes(text)
    with pytest.raises(UserError, match="--max-drop is"):
        parse_share("much")
    with pytest.raises(UserError, match=r"--task is 'wikki'.*did you mean 'wiki'"):
        chosen_scores(["wikki"], KNOWN)


KNOWN = pl.DataFrame(
    [(f"ppl wiki@{window} ({suite})", suite, "wiki") for suite, window in (("text", 64), ("short", 8))]
    + [("acc % qa", "qa", None)],
    schema=["score", "suite", "task"],
    orient="row",
)


def test_tasks_by_either_name_are_all_that_have_it() -> None:
    both = ("ppl wiki@64 (text)", "ppl wiki@8 (short)")
    assert chosen_scores([], KNOWN) == (*both, "acc % qa")
    assert chosen_scores(["qa", "ppl wiki@8 (short)"], KNOWN) == ("acc % qa", "ppl wiki@8 (short)")
    assert chosen_scores(["wiki"], KNOWN) == both
    assert chosen_scores(["short"], KNOWN) == both[1:]
