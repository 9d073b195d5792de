"""Recommendations against brute force over the table."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ptqbench.errors import UserError
from ptqbench.reporting.answer import doubts
from ptqbench.reporting.collect import CELLS, ITEMS, RESULTS
from ptqbench.reporting.recommend import (
    Candidate,
    Constraints,
    candidates,
    chosen_scores,
    parse_bytes,
    parse_share,
    recommend,
)
from ptqbench.reporting.scores import SCORES, collect_scores, pairs_table, scores_table

NAMES = ("ppl wiki", "acc % qa")


def table(seed: int, n: int = 25) -> tuple[list[Candidate], dict[tuple[str, str, str], float]]:
    """Cells of two models, some without a speed or a score, some as good as each other."""
    generator = random.Random(seed)
    cells = []
    for index in range(n):
        measured = NAMES if generator.random() < 0.9 else NAMES[:1]
        quality = generator.randrange(10)
        cells.append(
            Candidate(
                id=f"m{index % 2}/c/{index}",
                model=f"m{index % 2}",
                bytes=generator.randrange(1, 8) * 2**30,
                tokens_per_second=generator.choice([None, 10.0 * generator.randrange(1, 20)]),
                comparable=dict(zip(NAMES, (1.0 + quality / 10, 60.0 - quality), strict=True)),
                drop={name: (generator.randrange(-1, 12) / 100, 0.01) for name in measured},
                expected=NAMES,
            )
        )
    stderrs = {(s, a.id, b.id): 0.25 for s in NAMES for i, a in enumerate(cells) for b in cells[i + 1 :]}
    return cells, stderrs


def constraints(seed: int) -> Constraints:
    generator = random.Random(seed)

    def maybe(value: float) -> float | None:
        return generator.choice([None, value, value])

    return Constraints(
        scores=generator.choice([NAMES, NAMES[:1], NAMES[1:], NAMES[::-1]]),
        memory=maybe(generator.uniform(0.5, 8) * 2**30),
        max_drop=maybe(generator.uniform(-0.02, 0.08)),
        tokens_per_second=maybe(generator.uniform(5, 200)),
        prefer=generator.choice(["quality", "size", "speed"]),
    )


@pytest.mark.parametrize("seed", range(100))
def test_the_recommendation_is_that_of_brute_force(seed: int) -> None:
    cells, stderrs = table(seed)
    wanted = constraints(seed)
    good = []
    for cell in cells:
        fits = wanted.memory is None or cell.bytes <= wanted.memory
        keeps = wanted.max_drop is None or all(
            score in cell.drop and cell.drop[score][0] <= wanted.max_drop for score in wanted.scores
        )
        fast = wanted.tokens_per_second is None or (cell.tokens_per_second or -1) >= wanted.tokens_per_second
        if fits and keeps and fast:
            good.append(cell)
    found = recommend(cells, wanted, stderrs)
    assert {cell.id for cell in found.satisfying} == {cell.id for cell in good}
    if not good:
        assert found.best is None
        assert found.miss in cells
        assert found.violations
        return
    assert found.best is not None
    for other in good:
        if wanted.prefer == "size":
            assert found.best.bytes <= other.bytes
        elif wanted.prefer == "speed":
            assert (found.best.tokens_per_second or 0) >= (other.tokens_per_second or 0)
        elif wanted.scores[0] == "ppl wiki":
            assert found.best.comparable["ppl wiki"] <= other.comparable["ppl wiki"]
        else:
            assert found.best.comparable["acc % qa"] >= other.comparable["acc % qa"]
    if len(good) > 1:
        score = wanted.scores[0]
        gap = found.satisfying[0].comparable[score] - found.satisfying[1].comparable[score]
        assert found.margin == pytest.approx(-gap if score == "ppl wiki" else gap)
        assert found.significant == (abs(gap) > 1.959963985 * 0.25)


def test_the_seeds_cover_every_answer() -> None:
    answers = [recommend(*(table(s)[0], constraints(s), table(s)[1])) for s in range(100)]
    assert {len(answer.satisfying) > 1 for answer in answers} == {True, False}
    assert {answer.best is None for answer in answers} == {True, False}
    assert {answer.significant for answer in answers} == {True, False}


def test_a_model_is_held_to_what_it_was_measured_on_unless_scores_are_named() -> None:
    text = Candidate("t", "t", 5, None, {"ppl wiki": 1.0}, {"ppl wiki": (0.01, 0.0)}, ("ppl wiki",))
    image = Candidate("i", "i", 4, None, {"acc % qa": 60.0}, {"acc % qa": (0.02, 0.0)}, ("acc % qa",))
    lacking = Candidate("l", "i", 3, None, {}, {}, ("acc % qa",))
    never = Candidate("n", "n", 2, None, {}, {})
    cells = [text, image, lacking, never]
    found = recommend(cells, Constraints(NAMES, max_drop=0.05, prefer="size", named=False), {})
    assert [cell.id for cell in found.satisfying] == ["i", "t"]
    assert found.margin is None, "nothing to compare them by"
    assert [cell.id for cell in recommend(cells, Constraints(NAMES, named=False), {}).satisfying] == ["t", "i"]
    assert recommend(cells, Constraints(NAMES, max_drop=0.05), {}).best is None
    assert recommend(cells, Constraints(NAMES[1:], max_drop=0.05), {}).satisfying == [image]
    assert doubts(found, Constraints(NAMES, max_drop=0.05, named=False)) == []


def test_the_nearest_miss_is_the_one_that_misses_least() -> None:
    def cell(name: str, size: float, drop: float) -> Candidate:
        return Candidate(name, "m", int(size * 1000), None, {"ppl wiki": 1.0}, {"ppl wiki": (drop, 0.0)})

    cells = [cell("large", 1.5, 0.0), cell("near", 1.02, 0.03), cell("lossy", 0.5, 0.2)]
    found = recommend(cells, Constraints(("ppl wiki",), memory=1000, max_drop=0.01), {})
    assert found.best is None
    assert found.miss is not None
    assert found.miss.id == "near"
    assert found.violations == {"memory": pytest.approx(0.02), "ppl wiki": pytest.approx(0.02)}
    assert recommend([], Constraints(("ppl wiki",)), {}).miss is None


def test_what_was_not_measured_satisfies_nothing() -> None:
    cell = Candidate("a", "m", 1, None, {"ppl wiki": 1.0}, {"ppl wiki": (0.0, 0.0)})
    found = recommend([cell], Constraints(("ppl wiki",), tokens_per_second=1.0), {})
    assert found.violations == {"tokens per second": math.inf}


def test_candidates_carry_what_may_not_be_hidden() -> None:
    key = {"model": "m", "calibration": "c", "method": "gptq", "scheme": "w2"}
    cell = {
        **key,
        "format": "dense",
        "served_bytes": 100,
        "checkpoint": "results/packed/m",
        "serve_flags": ["--q", "h"],
    }
    cell |= {"fallbacks": ["0.q: not factored", "served dense: no kernel"]}
    base: dict[str, Any] = {**key, "method": "float", "served_bytes": 200}
    score = {**key, "score": "ppl wiki", "drop": 0.01, "drop_stderr": 0.002, "comparable": 1.1, "paired": False}
    rates = [
        {**key, "task": f"batch {b}", "metric": "tokens_per_second", "value": v} for b, v in ((64, 900.0), (1, 40.0))
    ]
    found = candidates(
        pl.DataFrame([base, cell], schema=CELLS),
        pl.DataFrame([score], schema=SCORES),
        pl.DataFrame(rates, schema=RESULTS),
    )
    (only,) = found
    assert (only.id, only.bytes, only.tokens_per_second) == ("m/c/gptq/w2", 100, 40.0)
    assert only.drop == {"ppl wiki": (0.01, 0.002)}
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
        chosen_scores(["wikki"], list(NAMES))


def test_tasks_by_either_name() -> None:
    assert chosen_scores([], list(NAMES)) == NAMES
    assert chosen_scores(["qa", "ppl wiki"], list(NAMES)) == ("acc % qa", "ppl wiki")


def measured() -> tuple[list[Candidate], dict[tuple[str, str, str], float], list[str]]:
    """Every strategy on pocket-llama as it was published, from before the report kept items and served sizes."""
    folder = Path(__file__).parents[3] / "reports/strategies"
    results, cells = (pl.read_parquet(folder / f"{name}.parquet") for name in ("results", "cells"))
    missing = {name: pl.lit(None, CELLS[name]) for name in ("structure", "format", "checkpoint", "serve_flags")}
    cells = cells.with_columns(served_bytes="checkpoint_bytes", **missing).with_columns(checkpoint=pl.lit("somewhere"))
    found = collect_scores(results, pl.DataFrame(schema=ITEMS))
    stderrs = {row[:3]: row[3] for row in pairs_table(found).select("score", "a", "b", "stderr").rows()}
    return candidates(cells, scores_table(found), results), stderrs, list(found)


def test_on_the_measured_strategies_it_is_that_of_brute_force() -> None:
    cells, stderrs, names = measured()
    assert len(cells) > 50
    generator, answers = random.Random(0), set()
    for _ in range(100):
        scores = tuple(generator.sample(names, generator.randrange(1, len(names) + 1)))
        memory, limit = generator.choice(cells).bytes, generator.choice([0.02, 0.2, 0.5, 1.0, 5.0])
        prefer = generator.choice(["quality", "size"])
        found = recommend(cells, Constraints(scores, memory, limit, prefer=prefer), stderrs)
        good = [c for c in cells if c.bytes <= memory and all(c.drop[score][0] <= limit for score in scores)]
        assert len(found.satisfying) == len(good)
        if found.best is not None:
            key = (lambda c: c.bytes) if prefer == "size" else (lambda c, score=scores[0]: c.drop[score][0])
            assert key(found.best) == min(map(key, good))
        answers.add(found.best and found.best.id)
    assert len(answers) > 2
    assert None in answers
