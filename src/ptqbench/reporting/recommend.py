"""Which cell to deploy under constraints: pure functions over the report's tables; the page's script does the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ptqbench.errors import UserError, did_you_mean
from ptqbench.reporting.scores import NORMAL, CellKey, better_when_lower, identifier
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
PREFERENCES = ("quality", "size", "speed")


@dataclass(frozen=True)
class Candidate:
    """A quantized cell: bytes of the weights as served, generation speed, and per score what is comparable and lost.

    ``drop[score]`` is the relative loss against the float model with its standard error; ``expected`` are the scores
    that any cell of its model has; ``caveats`` are what must be said whenever the cell is recommended.
    """

    id: str
    model: str
    bytes: int
    tokens_per_second: float | None
    comparable: dict[str, float]
    drop: dict[str, tuple[float, float]]
    expected: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    serve: str = ""
    key: CellKey = ("", "", "", "")


@dataclass(frozen=True)
class Constraints:
    """What must hold; ``scores`` are those that ``max_drop`` holds for, the first being what cells are ranked by.

    Unless they were ``named``, a cell is held to those of them that its model was measured on: nobody asks a model of
    text about images.
    """

    scores: tuple[str, ...]
    memory: float | None = None
    max_drop: float | None = None
    tokens_per_second: float | None = None
    prefer: str = "quality"
    named: bool = True

    def of(self, cell: Candidate) -> tuple[str, ...]:
        """The scores that a cell is held to."""
        own = tuple(score for score in self.scores if self.named or score in cell.expected)
        return own or self.scores


@dataclass
class Recommendation:
    """The best cell and the next one, or the nearest miss; ``margin`` is the best's lead in the first score's units."""

    satisfying: list[Candidate]
    margin: float | None = None
    margin_stderr: float | None = None
    miss: Candidate | None = None
    violations: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> Candidate | None:
        """What to deploy."""
        return self.satisfying[0] if self.satisfying else None

    @property
    def significant(self) -> bool:
        """Whether the lead over the next cell is more than chance."""
        return self.margin is not None and abs(self.margin) > NORMAL * (self.margin_stderr or 0.0)


def candidates(cells: pl.DataFrame, scores: pl.DataFrame, results: pl.DataFrame) -> list[Candidate]:
    """Every quantized cell, in the order of the table."""
    speeds = {row[:-1]: row[-1] for row in speed(results).rows()}
    by_cell: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in scores.iter_rows(named=True):
        by_cell.setdefault(tuple(row[name] for name in KEY), []).append(row)
    expected: dict[str, dict[str, None]] = {}
    for model, score in scores.filter(pl.col("method") != FLOAT_METHOD).select("model", "score").rows():
        expected.setdefault(model, {})[score] = None
    found = []
    for cell in cells.filter(pl.col("method") != FLOAT_METHOD).iter_rows(named=True):
        key: CellKey = (cell["model"], cell["calibration"], cell["method"], cell["scheme"])
        rows = by_cell.get(key, [])
        drops = {row["score"]: (row["drop"], row["drop_stderr"]) for row in rows if row["drop"] is not None}
        made = Candidate(
            id=identifier(key),
            model=cell["model"],
            bytes=cell["served_bytes"],
            tokens_per_second=speeds.get(key),
            comparable={row["score"]: row["comparable"] for row in rows},
            drop=drops,
            expected=tuple(expected.get(cell["model"], ())),
            caveats=tuple(caveats(cell, all(row["paired"] for row in rows))),
            serve=serve_command(cell),
            key=key,
        )
        found.append(made)
    return found


def caveats(cell: dict[str, Any], paired: bool) -> list[str]:
    """What a recommendation of ``cell`` (a row of ``cells``) may not hide."""
    said = []
    dense = [line for line in cell["fallbacks"] if line.startswith("served dense")]
    others = [line for line in cell["fallbacks"] if line not in dense]
    layers = len(others)
    if layers:
        said.append(f"{layers} layer{'s' if layers > 1 else ''} did not run as asked: {others[0]}")
    if cell["format"] == "dense":
        reason = dense[0].removeprefix("served dense") if dense else ": as asked"
        said.append(f"served dense, so it needs the memory and has the speed of the float model{reason}")
    elif dense:
        said.append(dense[0])
    if not paired:
        said.append("compared without its scores item by item, as if of independent measurements")
    if cell["serve_flags"] is None:
        said.append("evaluated in transformers: it was not served by vLLM in this run")
    return said


def serve_command(cell: dict[str, Any]) -> str:
    """The command line that serves a cell, with the flags its evaluation needed."""
    return " ".join(["vllm serve", cell["checkpoint"], *(cell["serve_flags"] or [])])


def speed(results: pl.DataFrame) -> pl.DataFrame:
    """Tokens per second of each cell as one user sees them (batch 1), or of the smallest batch that was measured."""
    rates = results.filter(pl.col("metric") == "tokens_per_second")
    batch = pl.col("task").str.extract(r"(\d+)").cast(pl.Int64)
    return rates.sort(batch, maintain_order=True).group_by(KEY, maintain_order=True).agg(pl.col("value").first())


def violations(candidate: Candidate, constraints: Constraints) -> dict[str, float]:
    """By how much a cell misses each constraint, relative to it (a drop: in absolute terms); inf: not measured."""
    found = {}
    if constraints.memory is not None and candidate.bytes > constraints.memory:
        found["memory"] = candidate.bytes / constraints.memory - 1 if constraints.memory else math.inf
    if (limit := constraints.max_drop) is not None:
        for score in constraints.of(candidate):
            drop = candidate.drop[score][0] if score in candidate.drop else math.inf
            if drop > limit:
                found[score] = drop - limit
    if (wanted := constraints.tokens_per_second) is not None:
        rate = candidate.tokens_per_second
        if rate is None or rate < wanted:
            found["tokens per second"] = wanted / rate - 1 if rate else math.inf
    if (first := constraints.of(candidate)[0]) not in candidate.comparable:
        found[f"{first} was measured"] = math.inf
    return found


def recommend(
    cells: list[Candidate], constraints: Constraints, stderrs: dict[tuple[str, str, str], float]
) -> Recommendation:
    """The cells that satisfy ``constraints``, best first; ``stderrs`` are of differences, by ``(score, id, id)``."""
    missed = {candidate.id: violations(candidate, constraints) for candidate in cells}
    good = sorted((c for c in cells if not missed[c.id]), key=lambda c: _order(c, constraints))
    if not good:
        nearest = min(cells, key=lambda c: (max(missed[c.id].values()), c.id), default=None)
        return Recommendation([], miss=nearest, violations=missed[nearest.id] if nearest else {})
    result = Recommendation(good)
    score = constraints.scores[0]
    if len(good) > 1 and all(score in cell.comparable for cell in good[:2]):
        sign = -1 if better_when_lower(score) else 1
        result.margin = sign * (good[0].comparable[score] - good[1].comparable[score])
        result.margin_stderr = pair_stderr(stderrs, score, good[0].id, good[1].id)
    return result


def pair_stderr(stderrs: dict[tuple[str, str, str], float], score: str, a: str, b: str) -> float:
    """The standard error of the difference of two cells, which are in the table in one order."""
    return stderrs[score, a, b] if (score, a, b) in stderrs else stderrs[score, b, a]


def _order(candidate: Candidate, constraints: Constraints) -> tuple[float, float, str]:
    """Smaller is better: what is preferred, then the other of quality and size, then the name."""
    score = constraints.scores[0]
    sign = 1 if better_when_lower(score) else -1
    loss = sign * candidate.comparable.get(score, sign * math.inf)
    if constraints.prefer == "size":
        return candidate.bytes, loss, candidate.id
    if constraints.prefer == "speed":
        return -(candidate.tokens_per_second or 0.0), loss, candidate.id
    return loss, candidate.bytes, candidate.id


def chosen_scores(asked: list[str], known: list[str]) -> tuple[str, ...]:
    """Score names of the report that ``--task`` names: in full, or a corpus or suite."""
    if not asked:
        return tuple(known)
    short = {name.removeprefix("ppl ").removeprefix("acc % "): name for name in known}
    for name in asked:
        if name not in known and name not in short:
            raise UserError(f"--task is '{name}', which this report did not measure{did_you_mean(name, short)}")
    return tuple(name if name in known else short[name] for name in asked)


def parse_bytes(text: str) -> float:
    """``24GB`` (10⁹) or ``24GiB`` (2³⁰) in bytes."""
    number, unit = _split(text)
    if number is None or unit.upper() not in UNITS:
        raise UserError(f"--memory is '{text}': write a number and its unit, such as 24GB or 22GiB")
    return number * UNITS[unit.upper()]


def parse_share(text: str) -> float:
    """``1%`` or ``0.01`` as 0.01."""
    number, unit = _split(text)
    if number is None or unit not in ("", "%"):
        raise UserError(f"--max-drop is '{text}': write a share of the float model's quality, such as 1% or 0.01")
    return number / 100 if unit == "%" else number


def _split(text: str) -> tuple[float | None, str]:
    stripped = text.strip()
    digits = len(stripped) - len(stripped.lstrip("0123456789."))
    try:
        return float(stripped[:digits]), stripped[digits:].strip()
    except ValueError:
        return None, stripped
