"""What cells are compared by, with its evidence: a perplexity for each suite, text and window, an accuracy a suite, and
a KL to the float model for each suite and text of kind fidelity.

Three tables: ``items`` (what every window or document scored), ``scores`` (a cell against its float model) and
``pairs`` (cells against each other).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.headline import divergences, perplexities, shares
from ptqbench.reporting.intervals import NORMAL, RESOLUTION, Array, divergence_floor, share_spread, student
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

SCORES: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(KEY, pl.String),
    "score": pl.String,
    "kind": pl.String,
    "suite": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "window": pl.Int64,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "delta": pl.Float64,
    "delta_stderr": pl.Float64,
    "delta_low": pl.Float64,
    "delta_high": pl.Float64,
    "significant": pl.Boolean,
    "drop": pl.Float64,
    "drop_stderr": pl.Float64,
    "drop_high": pl.Float64,
    "comparable": pl.Float64,
    "paired": pl.Boolean,
    "n": pl.Int64,
    "seeds": pl.Int64,
    "seed_sd": pl.Float64,
}
PAIRS: dict[str, pl.DataType | type[pl.DataType]] = {
    "score": pl.String,
    "a": pl.String,
    "b": pl.String,
    "difference": pl.Float64,
    "stderr": pl.Float64,
    "seed_sd": pl.Float64,
}
AGREES = 1e-6  # items whose mean is not the score to this are no evidence of it

PREFIX = {"perplexity": "ppl", "kl": "kl", "kl_bound": "kl≥"}  # of a score's name, for those where less is better
KINDS = {"ppl": "perplexity", "kl": "divergence", "kl≥": "divergence"}


class Key(NamedTuple):
    """What a score is of: a text in windows of so many tokens, or (``task`` None) the mean over a suite's tasks."""

    suite: str
    task: str | None
    metric: str
    window: int | None = None

    @property
    def name(self) -> str:
        """``ppl wikitext2@1024 (perplexity)``, ``kl wikitext2@1024 (fidelity)`` or ``acc % blimp``.

        A KL's lower bound is ``kl≥ …``. No two keys of a report share it.
        """
        if self.task is None:
            return f"{self.metric} % {self.suite}"
        return f"{PREFIX[self.metric]} {self.task}{f'@{self.window}' if self.window else ''} ({self.suite})"


@dataclass
class Score:
    """One cell's score: its number, what it is over models, and its evidence.

    ``comparable`` is bits per byte for a perplexity, which depends on the tokenizer, the accuracy itself, and for a KL,
    which is one to the model's own float model, the KL: it compares a model's cells.
    ``strata`` are the scores of the items of every task, of which the score is the mean by ``weights``. ``seeds`` are
    those that it is the mean of, where it stands for several.
    """

    value: float
    stderr: float
    comparable: float
    n: int
    strata: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    evidence: Evidence | None = None
    index: int = 0
    seeds: tuple[Score, ...] = ()

    @property
    def seed_sd(self) -> float | None:
        """The standard deviation of the value over seeds; None for a single cell."""
        return deviation([one.value for one in self.seeds])


@dataclass
class Evidence:
    """Of cells scored on the same items: covariances ``[k, k]`` of their means, and one item's largest part in one."""

    covariance: Array
    reach: float

    def variance(self, a: int, b: int, unit_a: float = 1.0, unit_b: float = 1.0) -> float:
        """Of ``unit_a`` times one mean less ``unit_b`` times another."""
        own = self.covariance
        return max(0.0, float(unit_a**2 * own[a, a] + unit_b**2 * own[b, b] - 2 * unit_a * unit_b * own[a, b]))


Found = dict[Key, dict[Cell, Score]]


def better_when_lower(name: str) -> bool:
    """Whether a smaller score is a better one."""
    return kind(name) != "accuracy"


def kind(name: str) -> str:
    """``perplexity``, ``divergence`` or ``accuracy``."""
    return KINDS.get(name.partition(" ")[0], "accuracy")


def over_models(scores: pl.DataFrame) -> pl.DataFrame:
    """The scores that compare models: no model's distance to itself says anything of another's."""
    return scores.filter(pl.col("kind") != "divergence")


def collect_scores(results: pl.DataFrame, items: pl.DataFrame) -> Found:
    """Every score of every cell, in the order of the results."""
    evidence: dict[tuple[Any, ...], Array] = {
        key: group["value"].to_numpy() for key, group in items.group_by([*KEY, "suite", "task", "metric"])
    }
    found: Found = {}
    for row in perplexities(results).iter_rows(named=True):
        cell = Cell.of(row)
        losses = evidence.get((*cell, row["suite"], row["task"], "perplexity"), np.empty(0))
        whole = bool(len(losses)) and math.isclose(math.exp(losses.mean()), row["value"], rel_tol=AGREES)
        name = f"{row['suite']}/{row['task']}"
        score = Score(
            row["value"], row["stderr"], row["bits"], row["n"], *(({name: losses}, {name: 1.0}) if whole else ())
        )
        found.setdefault(Key(row["suite"], row["task"], "perplexity", row["window"]), {})[cell] = score
    for row in divergences(results).iter_rows(named=True):
        cell = Cell.of(row)
        values = evidence.get((*cell, row["suite"], row["task"], row["metric"]), np.empty(0))
        whole = bool(len(values)) and math.isclose(values.mean(), row["value"], rel_tol=AGREES)
        name = f"{row['suite']}/{row['task']}"
        parts = ({name: values}, {name: 1.0}) if whole else ()
        score = Score(row["value"], row["stderr"], row["value"], row["n"], *parts)
        found.setdefault(Key(row["suite"], row["task"], row["metric"], row["window"]), {})[cell] = score
    for key, cell, score in accuracies(results, evidence):
        found.setdefault(key, {})[cell] = score
    for scores in found.values():
        gather(scores)
    return found


def accuracies(results: pl.DataFrame, evidence: dict[tuple[Any, ...], Array]) -> Iterator[tuple[Key, Cell, Score]]:
    """The mean over what was asked of each suite; a cell that lacks a task of it has no such score."""
    for (suite,), own in shares(results).group_by(["suite"], maintain_order=True):
        tasks = own["task"].unique(maintain_order=True).to_list()
        metrics = own["metric"].unique(maintain_order=True).to_list()
        key = Key(str(suite), None, metrics[0] if len(metrics) == 1 else "mean")
        for _, group in own.group_by(KEY, maintain_order=True):
            rows = {row["task"]: row for row in group.iter_rows(named=True)}
            if len(rows) == len(tasks):
                yield key, Cell.of(group.row(0, named=True)), mean_score([rows[task] for task in tasks], evidence)


def mean_score(rows: list[dict[str, Any]], evidence: dict[tuple[Any, ...], Array]) -> Score:
    """The mean of a suite's rows, in per cent; a group's row is the mean of its tasks' by their weights."""
    value = 100 * float(np.mean([row["value"] for row in rows]))
    stderr = 100 * math.sqrt(math.fsum(row["stderr"] ** 2 for row in rows)) / len(rows)
    score = Score(value, stderr, value, sum(row["n"] for row in rows))
    for row in rows:
        leaves = row["leaves"] if row["leaves"] is not None else [row["task"]]
        weights = row["weights"] if row["weights"] is not None else [1.0]
        for leaf, weight in zip(leaves, weights, strict=True):
            name = f"{row['suite']}/{leaf}"
            score.strata[name] = evidence.get((*Cell.of(row), row["suite"], leaf, row["metric"]), np.empty(0))
            score.weights[name] = score.weights.get(name, 0.0) + weight / len(rows)
    whole = all(len(scores) for scores in score.strata.values())
    if whole and abs(100 * _weighed(score) - value) <= 100 * AGREES:
        score.stderr = 100 * math.sqrt(_variance(score.strata, score.weights))
    else:
        score.strata, score.weights = {}, {}
    return score


def gather(scores: dict[Cell, Score]) -> None:
    """Fill ``evidence`` of all cells that were scored on the same items, together."""
    layouts: dict[tuple[Any, ...], list[Score]] = {}
    for score in scores.values():
        if score.strata:
            layout = tuple((name, len(one), score.weights[name]) for name, one in score.strata.items())
            layouts.setdefault(layout, []).append(score)
    for layout, members in layouts.items():
        covariance = np.zeros((len(members), len(members)))
        for name, n, weight in layout:
            if n > 1:
                values = np.stack([score.strata[name] for score in members])
                covariance += weight**2 / n * np.cov(values).reshape(covariance.shape)
        shared = Evidence(covariance, max(weight / n for _, n, weight in layout))
        for index, score in enumerate(members):
            score.evidence, score.index = shared, index


def scores_table(found: Found) -> pl.DataFrame:
    """One row per cell and score: the difference to the float model, item by item where the items are known.

    ``drop`` is the relative loss of quality, positive where the cell is worse: ``ppl / float - 1`` or
    ``1 - acc / float``; 0 where the float model itself scores 0 and there is nothing to lose. ``drop_high`` is the
    upper end of its 95 % interval. A KL has none of these: it is a distance from the float model, whose own is 0.
    ``seeds`` are how many cells a row is the mean of (null: of one), and ``seed_sd`` the standard deviation of their
    values; all other errors are of windows or documents.
    """
    rows = []
    for key, scores in found.items():
        floats = {cell[0]: score for cell, score in scores.items() if cell[2] == FLOAT_METHOD}
        for cell, score in scores.items():
            row: dict[str, Any] = {**cell.columns, "score": key.name, "kind": kind(key.name)}
            row |= {**key._asdict(), "value": score.value, "stderr": score.stderr, "comparable": score.comparable}
            row |= {"n": score.n, "paired": False, "seeds": len(score.seeds) or None, "seed_sd": score.seed_sd}
            if (base := floats.get(cell[0])) is not None:
                row |= asdict(against(key.name, score, base))
            rows.append(row)
    return pl.DataFrame(rows, schema=SCORES)


@dataclass(frozen=True)
class Against:
    """The columns that compare a score with its float model's."""

    delta: float
    delta_stderr: float
    delta_low: float
    delta_high: float
    significant: bool
    drop: float | None
    drop_stderr: float | None
    drop_high: float | None
    paired: bool


def against(name: str, score: Score, base: Score) -> Against:
    """A score beside its float model's."""
    drop: float | None
    relative: float | None
    high: float | None
    half = NORMAL * spread(name, score, base)
    if kind(name) == "perplexity":
        ratio = score.value / base.value
        low, drop, up = ratio * math.exp(-half) - 1, ratio - 1, ratio * float(np.exp(half)) - 1
        delta, high = score.value - base.value, up
        ends = (base.value * low, base.value * up)
        stderr, relative = score.value * half / NORMAL, ratio * half / NORMAL
    elif kind(name) == "divergence":
        delta, (drop, relative, high) = score.value - base.value, (None, None, None)
        ends, stderr = (delta - half, delta + half), half / NORMAL
    else:
        delta, whole = score.value - base.value, base.value or math.inf
        drop, high = -delta / whole + 0.0, (half - delta) / whole  # no minus zero
        ends = (delta - half, delta + half)
        stderr, relative = half / NORMAL, half / NORMAL / whole
    return Against(
        delta=delta,
        delta_stderr=stderr,
        delta_low=ends[0],
        delta_high=ends[1],
        significant=ends[0] > 0 or ends[1] < 0,
        drop=drop,
        drop_stderr=relative,
        drop_high=high,
        paired=_paired(score, base),
    )


def spread(name: str, a: Score, b: Score, unit_a: float = 1.0, unit_b: float = 1.0) -> float:
    """Half the 95 % interval of a difference over :data:`NORMAL`: of losses times units, of KLs, of accuracies in %."""
    if a is b:
        return 0.0
    is_ppl, lower = kind(name) == "perplexity", better_when_lower(name)
    if _paired(a, b):
        assert a.evidence is not None
        variance, reach = a.evidence.variance(a.index, b.index, unit_a, unit_b), a.evidence.reach
    else:
        own = [_own(name, one) * unit for one, unit in ((a, unit_a), (b, unit_b))]
        variance, reach = own[0] ** 2 + own[1] ** 2, 1 / max(1, min(a.n, b.n))
    if not lower:
        return 100 * share_spread(variance, reach)
    if min(a.n, b.n) < 2 or math.isnan(variance):
        return math.inf
    floor = RESOLUTION * max(unit_a, unit_b) if is_ppl else divergence_floor(max(a.value, b.value))
    return max(math.sqrt(variance), floor) * student(min(a.n, b.n) - 1) / NORMAL


def pairs_table(found: Found) -> pl.DataFrame:
    """One row per score and two cells (for a KL: of one model): ``difference = a - b`` in what is comparable.

    It is significant beyond 1.96 stderr. ``seed_sd``: the standard deviation of the difference over seeds, where a row
    or both are means over such: seed by seed where there are equally many, else as of independent ones.
    """
    rows = []
    for key, scores in found.items():
        for (cell_a, a), (cell_b, b) in combinations(scores.items(), 2):
            if kind(key.name) == "divergence" and cell_a[0] != cell_b[0]:
                continue
            units = (_units(key.name, a), _units(key.name, b))
            stderr = spread(key.name, a, b, *units)
            names = (cell_a.path, cell_b.path)
            rows.append((key.name, *names, a.comparable - b.comparable, stderr, pair_deviation(a, b)))
    return pl.DataFrame(rows, schema=PAIRS, orient="row")


def pair_deviation(a: Score, b: Score) -> float | None:
    """The standard deviation over seeds of what is comparable of ``a`` less that of ``b``."""
    ours, theirs = ([one.comparable for one in score.seeds] for score in (a, b))
    if len(ours) == len(theirs):
        return deviation([one - other for one, other in zip(ours, theirs, strict=True)])
    found = [own for own in (deviation(ours), deviation(theirs)) if own is not None]
    return math.hypot(*found) if found else None


def deviation(values: list[float]) -> float | None:
    """Of a sample; NaN of one, None of nothing."""
    if not values:
        return None
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _units(name: str, score: Score) -> float:
    """Bits per byte for each nat of a mean loss: they are proportional."""
    return score.comparable / math.log(score.value) if kind(name) == "perplexity" else 1.0


def _own(name: str, score: Score) -> float:
    """A score's standard error in nats, or as a share."""
    return score.stderr / {"perplexity": score.value, "divergence": 1.0, "accuracy": 100.0}[kind(name)]


def _paired(a: Score, b: Score) -> bool:
    return a.evidence is not None and a.evidence is b.evidence


def _weighed(score: Score) -> float:
    return math.fsum(score.weights[name] * float(one.mean()) for name, one in score.strata.items())


def _variance(strata: Mapping[str, Array], weights: Mapping[str, float]) -> float:
    return math.fsum(weights[name] ** 2 * one.var(ddof=1) / len(one) for name, one in strata.items() if len(one) > 1)
