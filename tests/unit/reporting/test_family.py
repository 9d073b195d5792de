"""A larger model at fewer bits against a smaller one at more, on a table whose answer is known."""

from __future__ import annotations

import polars as pl
import pytest

from ptqbench.cells import Cell
from ptqbench.reporting.family import Duel, duels, families, verdict

# model: (scheme, bytes, bits per byte)
CELLS = {
    "large": [("float", 1600, 1.0), ("w4", 400, 1.1), ("w2", 200, 2.0)],
    "small": [("float", 800, 1.3), ("w4", 210, 1.5), ("w3", 160, 1.7), ("bad", 205, 1.8)],
    "tiny": [("float", 100, 2.5)],
    "other": [("float", 100, 1.0)],
}


def key(model: str, scheme: str) -> Cell:
    return Cell(model, "none", "float", "float") if scheme == "float" else Cell(model, "c", "gptq", scheme)


def tables(sign: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores and cells; with ``sign`` -1 the same table as accuracies."""
    score = "ppl t" if sign == 1 else "acc % t"
    rows = [(*key(m, scheme), size, sign * value) for m, own in CELLS.items() for scheme, size, value in own]
    names = ["model", "calibration", "method", "scheme", "checkpoint_bytes", "comparable"]
    data = pl.DataFrame(rows, schema=names, orient="row")
    scores = data.drop("checkpoint_bytes").with_columns(score=pl.lit(score))
    family = pl.when(pl.col("model") == "other").then(pl.lit("none")).otherwise(pl.lit("f"))
    return scores, data.drop("comparable").with_columns(family=family)


def stderrs(score: str, stderr: float) -> dict[tuple[str, str, str], float]:
    ids = [key(model, scheme).path for model, own in CELLS.items() for scheme, _, _ in own]
    return {(score, a, b): stderr for i, a in enumerate(ids) for b in ids[i + 1 :]}


def test_families_have_several_models_the_largest_first() -> None:
    assert families(tables()[1]) == {"f": ["large", "small", "tiny"]}
    assert families(tables()[1].with_columns(family="model")) == {}


@pytest.mark.parametrize("sign", [1, -1])
def test_two_bits_of_the_large_model_lose_to_four_of_the_small(sign: int) -> None:
    score = "ppl t" if sign == 1 else "acc % t"
    found = duels(*tables(sign), "large", "small", score, stderrs(score, 0.05))
    assert [(duel.bytes, duel.smaller[3], duel.larger and duel.larger[3]) for duel in found] == [
        (160, "w3", None),
        (210, "w4", "w2"),
        (800, "float", "w4"),
    ]
    assert [duel.lead for duel in found] == pytest.approx([0.0, -0.5, 0.2])
    assert [duel.significant for duel in found] == [False, True, True]
    assert verdict("large", "small", found) == (
        "At equal bytes large at fewer bits is better at 1, and small at more bits at 1, of the 2 sizes where both "
        "have a cell."
    )


def test_what_chance_could_have_done_is_said() -> None:
    found = duels(*tables(), "large", "small", "ppl t", stderrs("ppl t", 0.2))
    assert [duel.significant for duel in found] == [False, True, False]
    assert verdict("large", "small", found).endswith("of the 2 sizes where both have a cell, and 1 cannot be told.")


def test_a_model_that_is_never_so_small() -> None:
    found = duels(*tables(), "large", "tiny", "ppl t", stderrs("ppl t", 0.1))
    assert found == [Duel(100, key("tiny", "float"))]
    assert verdict("large", "tiny", found) == "No cell of large is as small as one of tiny that is worth having."
