"""What cells are compared by: a perplexity for each corpus, an accuracy for each suite of tasks, with their evidence.

Three tables: ``items`` (what every window or document scored), ``scores`` (a cell against its float model) and
``pairs`` (cells against each other).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from ptqbench.reporting.bootstrap import Array, Estimate, estimate, resampled_means
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

NORMAL = 1.959963985  # half the width of a 95 % interval in standard errors
SCORES: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(KEY, pl.String),
    "score": pl.String,
    "kind": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "delta": pl.Float64,
    "delta_stderr": pl.Float64,
    "delta_low": pl.Float64,
    "delta_high": pl.Float64,
    "significant": pl.Boolean,
    "drop": pl.Float64,
    "drop_stderr": pl.Float64,
    "comparable": pl.Float64,
    "paired": pl.Boolean,
    "n": pl.Int64,
}
PAIRS: dict[str, pl.DataType | type[pl.DataType]] = {
    "score": pl.String,
    "a": pl.String,
    "b": pl.String,
    "difference": pl.Float64,
    "stderr": pl.Float64,
}

CellKey = tuple[str, str, str, str]


@dataclass
class Score:
    """One cell's score: its number, what it is over models, and its evidence.

    ``comparable`` is bits per byte for a perplexity, which depends on the tokenizer, and the accuracy itself.
    """

    value: float
    stderr: float
    comparable: float
    n: int
    strata: dict[str, Array] = field(default_factory=dict)
    draws: Array | None = None


def identifier(cell: CellKey) -> str:
    """``model/calibration/method/scheme``, which no two cells share."""
    return "/".join(cell)


def collect_scores(results: pl.DataFrame, items: pl.DataFrame) -> dict[str, dict[CellKey, Score]]:
    """Score name to cell to score: ``ppl <corpus>`` and ``acc % <suite>``, in the order of the results."""
    evidence: dict[tuple[Any, ...], Array] = {
        key: group["value"].to_numpy() for key, group in items.group_by([*KEY, "suite", "task", "metric"])
    }
    bits = {
        row[:-1]: row[-1]
        for row in results.filter(pl.col("metric") == "bits_per_byte").select(*KEY, "suite", "task", "value").rows()
    }
    found: dict[str, dict[CellKey, Score]] = {}
    for *key, suite, task, value, stderr, n in _rows(results, "perplexity"):
        cell = _cell(key)
        strata = evidence.get((*cell, suite, task, "perplexity"))
        own = {} if strata is None else {f"{suite}/{task}": strata}
        comparable = bits.get((*cell, suite, task), math.log2(value))
        found.setdefault(f"ppl {task}", {})[cell] = Score(value, stderr, comparable, n, own)
    for (*key, suite), group in results.filter(pl.col("metric") == "acc").group_by(
        [*KEY, "suite"], maintain_order=True
    ):
        cell = _cell(key)
        tasks = group["task"].to_list()
        value = 100 * float(np.mean(group["value"].to_numpy()))
        stderr = 100 * math.sqrt(float(np.sum(group["stderr"].to_numpy() ** 2))) / len(tasks)
        keys = {f"{suite}/{task}": (*cell, suite, task, "acc") for task in tasks}
        whole = {task: evidence[key] for task, key in keys.items() if key in evidence}
        score = Score(value, stderr, value, int(group["n"].sum()), whole if len(whole) == len(tasks) else {})
        found.setdefault(f"acc % {suite}", {})[cell] = score
    for scores in found.values():
        _draw(scores)
    return found


def transform(name: str) -> Callable[[Any], Any]:
    """From the mean over items to the score."""
    return np.exp if name.startswith("ppl ") else lambda mean: 100 * mean


def better_when_lower(name: str) -> bool:
    """Whether a smaller score is a better one."""
    return name.startswith("ppl ")


def scores_table(found: dict[str, dict[CellKey, Score]]) -> pl.DataFrame:
    """One row per cell and score: the difference to the float model, resampled together where the items are known.

    ``drop`` is the relative loss of quality, positive where the cell is worse: ``ppl / float - 1`` or
    ``1 - acc / float``; 0 where the float model itself scores 0 and there is nothing to lose.
    """
    rows = []
    for name, scores in found.items():
        floats = {cell[0]: score for cell, score in scores.items() if cell[2] == FLOAT_METHOD}
        for cell, score in scores.items():
            row: dict[str, Any] = {**dict(zip(KEY, cell, strict=True)), "score": name, "kind": kind(name)}
            row |= {"value": score.value, "stderr": score.stderr, "comparable": score.comparable, "n": score.n}
            row["paired"] = False
            if (base := floats.get(cell[0])) is not None:
                row |= against(name, score, base)
            rows.append(row)
    return pl.DataFrame(rows, schema=SCORES)


def against(name: str, score: Score, base: Score) -> dict[str, Any]:
    """The columns that compare a score with its float model's."""
    delta, paired = difference(name, score, base), _paired(score, base)
    sign = 1 if better_when_lower(name) else -1
    whole = base.value or math.inf
    return {
        "delta": delta.value,
        "delta_stderr": delta.stderr,
        "delta_low": delta.low,
        "delta_high": delta.high,
        "significant": delta.significant,
        "drop": sign * delta.value / whole + 0.0,  # no minus zero
        "drop_stderr": delta.stderr / whole,
        "paired": paired,
    }


def difference(name: str, a: Score, b: Score) -> Estimate:
    """``a - b``; from their paired draws, or else as of two independent measurements."""
    if a is b:
        return Estimate(0.0, 0.0, 0.0, 0.0)
    value = a.value - b.value
    if _paired(a, b):
        assert a.draws is not None
        assert b.draws is not None
        to_score = transform(name)
        return estimate(value, to_score(a.draws) - to_score(b.draws))
    stderr = math.hypot(a.stderr, b.stderr)
    return Estimate(value, stderr, value - NORMAL * stderr, value + NORMAL * stderr)


def pairs_table(found: dict[str, dict[CellKey, Score]]) -> pl.DataFrame:
    """One row per score and two cells: ``difference = a - b`` in what is comparable, with its standard error."""
    rows = []
    for name, scores in found.items():
        for (cell_a, a), (cell_b, b) in combinations(scores.items(), 2):
            value, stderr = a.comparable - b.comparable, _comparable_stderr(name, a, b)
            rows.append((name, identifier(cell_a), identifier(cell_b), value, stderr))
    return pl.DataFrame(rows, schema=PAIRS, orient="row")


def kind(name: str) -> str:
    """``perplexity`` or ``accuracy``."""
    return "perplexity" if better_when_lower(name) else "accuracy"


def _comparable_stderr(name: str, a: Score, b: Score) -> float:
    """Standard error of a difference of comparable values; bits per byte are proportional to the mean loss."""
    if not _paired(a, b):
        return math.hypot(_own_stderr(name, a), _own_stderr(name, b))
    assert a.draws is not None
    assert b.draws is not None
    return float((_units(name, a) * a.draws - _units(name, b) * b.draws).std(ddof=1))


def _own_stderr(name: str, score: Score) -> float:
    if kind(name) == "accuracy":
        return score.stderr
    return score.comparable * score.stderr / score.value / math.log(score.value)


def _units(name: str, score: Score) -> float:
    return 100.0 if kind(name) == "accuracy" else score.comparable / math.log(score.value)


def _draw(scores: dict[CellKey, Score]) -> None:
    """Fill ``draws`` of all cells that were scored on the same items, together."""
    groups: dict[tuple[tuple[str, int], ...], list[Score]] = {}
    for score in scores.values():
        if score.strata:
            groups.setdefault(tuple((name, len(values)) for name, values in score.strata.items()), []).append(score)
    for layout, members in groups.items():
        stacked = {name: np.stack([score.strata[name] for score in members], axis=1) for name, _ in layout}
        for score, draws in zip(members, resampled_means(stacked).T, strict=True):
            score.draws = draws


def _paired(a: Score, b: Score) -> bool:
    layouts = [{name: len(values) for name, values in score.strata.items()} for score in (a, b)]
    return bool(a.strata) and layouts[0] == layouts[1]


def _cell(key: list[Any]) -> CellKey:
    model, calibration, method, scheme = map(str, key)
    return model, calibration, method, scheme


def _rows(results: pl.DataFrame, metric: str) -> Iterator[tuple[Any, ...]]:
    yield from results.filter(pl.col("metric") == metric).select(*KEY, "suite", "task", "value", "stderr", "n").rows()
