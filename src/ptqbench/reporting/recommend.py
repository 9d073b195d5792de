"""Which cell of a model to deploy under constraints: pure functions over the report's tables.

The page's script does the same; models are never compared with each other, as a loss is relative to the own float one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ptqbench.cells import Cell
from ptqbench.errors import UserError, did_you_mean
from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.kl import Divergence, divergences
from ptqbench.reporting.rows import ScoreRow
from ptqbench.reporting.scores import better_when_lower, kind
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
PREFERENCES = ("quality", "size", "speed")
TIE = 0.01  # sizes or speeds that differ by less are alike, and quality decides

Stderrs = Mapping[tuple[str, str, str], float]


NO_CELL = Cell("", "", "", "")


@dataclass(frozen=True)
class Candidate:
    """A cell, the float one too: bytes of the weights as served, generation speed, and what each score is and loses.

    ``drop[score]`` is the relative loss against the float model and the upper end of its 95 % interval; a KL has none.
    ``caveats`` are what must be said whenever the cell is recommended; ``serve`` is empty where vLLM does not serve the
    checkpoint, and ``served`` says by what it is; ``bits`` is ``mixed`` where they differ.
    """

    id: str
    model: str
    bytes: int
    tokens_per_second: float | None
    comparable: dict[str, float]
    drop: dict[str, tuple[float, float]]
    caveats: tuple[str, ...] = ()
    serve: str = ""
    key: Cell = NO_CELL
    bits: str = ""
    bits_per_weight: float | None = None
    served: str = ""
    kl: Divergence | None = None

    @property
    def is_float(self) -> bool:
        """Whether it is the unquantized model."""
        return self.key[2] == FLOAT_METHOD

    def has(self, score: str) -> bool:
        """Whether the cell can be judged by a score: what it loses is known, or how far it is from the float model."""
        return score in self.drop or (kind(score) == "divergence" and score in self.comparable)


@dataclass(frozen=True)
class Constraints:
    """What must hold; ``scores`` are those that count, the first being what quality means.

    Unless they were ``named``, those count that most quantized cells of the model have, and no KL: it ranks, and says
    nothing of what is lost.
    """

    scores: tuple[str, ...]
    memory: float | None = None
    max_drop: float | None = None
    tokens_per_second: float | None = None
    prefer: str = "quality"
    named: bool = True


@dataclass
class Recommendation:
    """The best cell and the next one, or the nearest miss; ``margin`` is the best's lead in the first score's units.

    ``scores`` are those that counted, ``uncounted`` the model's others with the number of cells that have them.
    ``lacking`` are cells that could not be judged, with the scores that they lack; ``unsure`` is what would be best if
    the measured losses were exact.
    """

    satisfying: list[Candidate]
    scores: tuple[str, ...] = ()
    uncounted: dict[str, int] = field(default_factory=dict)
    lacking: list[tuple[Candidate, tuple[str, ...]]] = field(default_factory=list)
    unsure: Candidate | None = None
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
    """Every cell, in the order of the table."""
    speeds = {row[:-1]: row[-1] for row in speed(results).rows()}
    kls = divergences(results)
    by_cell: dict[Cell, list[ScoreRow]] = {}
    for row in map(ScoreRow.of, scores.iter_rows(named=True)):
        by_cell.setdefault(row.cell, []).append(row)
    found = []
    for cell in cells.iter_rows(named=True):
        key = Cell.of(cell)
        rows = by_cell.get(key, [])
        made = Candidate(
            id=key.path,
            model=cell["model"],
            bytes=cell["served_bytes"],
            tokens_per_second=speeds.get(key),
            comparable={row.score: row.comparable for row in rows},
            drop={row.score: row.loss for row in rows if row.loss},
            caveats=(*caveats(cell, all(row.paired for row in rows)), *of_seeds(cell, rows)),
            serve=cell["serve"] or "",
            key=key,
            bits=bits_of(cell),
            bits_per_weight=cell["bits_per_weight"],
            served=served(cell),
            kl=kls.get(key),
        )
        found.append(made)
    return found


def only(cells: list[Candidate], method: str | None, bits: str | None) -> list[Candidate]:
    """The cells of a method and of a bit-width, and the unquantized models.

    Raises :class:`UserError` for a name that the report does not have.
    """
    quantized = [cell for cell in cells if not cell.is_float]
    named = {
        "--method": (method, {cell.key[2] for cell in quantized}),
        "--bits": (bits, {cell.bits for cell in quantized}),
    }
    for option, (wanted, known) in named.items():
        if wanted is not None and wanted not in known:
            raise UserError(f"{option} is '{wanted}': the report has {', '.join(sorted(known))}")
    return [cell for cell in cells if cell.is_float or (method in (None, cell.key[2]) and bits in (None, cell.bits))]


def bits_of(cell: dict[str, Any]) -> str:
    """The width of a cell (a row of ``cells``): ``mixed``, or ``unknown`` where one of others does not say."""
    return str(cell["bits"] or ("unknown" if cell.get("theirs") else "mixed"))


def served(cell: dict[str, Any]) -> str:
    """By what a cell (a row of ``cells``) is served, and as what."""
    by = "transformers" if cell["serve"] is None else "vLLM"
    tried = ", untried" if cell["serve"] is not None and cell["serve_flags"] is None else ""
    return f"{by}: {(cell['format'] or 'unknown').replace('_', '-')}{tried}"


def caveats(cell: dict[str, Any], paired: bool) -> list[str]:
    """What a recommendation of ``cell`` (a row of ``cells``) may not hide."""
    said = [f"made by others: {cell['theirs']}"] if cell.get("theirs") else []
    if layers := len(cell["fallbacks"]):
        said.append(f"{layers} layer{'s' if layers > 1 else ''} did not run as asked: {cell['fallbacks'][0]}")
    if cell["format"] == "dense":
        said.append(
            f"served dense, with the memory and the speed of the float model: {cell['dense'] or 'as the config asks'}"
        )
    elif cell["dense"]:
        said.append(f"served dense in part: {cell['dense']}")
    if not paired and cell["method"] != FLOAT_METHOD:
        said.append("compared without its scores item by item, as if of independent measurements")
    if cell["serve"] is None:
        said.append("vLLM does not serve this checkpoint; transformers loads it")
    elif cell["serve_flags"] is None:
        said.append("evaluated in transformers: it was not served by vLLM in this run")
    return said


def of_seeds(cell: dict[str, Any], rows: list[ScoreRow]) -> list[str]:
    """That scores are means over seeds, with the spread of each, and which seed's checkpoint it is."""
    means = [row for row in rows if row.seeds]
    if not means:
        return []
    spreads = ", ".join(f"{row.score} by ± {row.seed_sd:.2g}" for row in means)
    count = means[0].seeds
    return [f"scores are means over {count} seeds, which vary ({spreads}); the checkpoint is of seed {cell['seed']}"]


def speed(results: pl.DataFrame) -> pl.DataFrame:
    """Tokens per second of each cell as one user sees them (batch 1), or of the smallest batch that was measured."""
    rates = results.filter(pl.col("metric") == "tokens_per_second")
    batch = pl.col("task").str.extract(r"(\d+)").cast(pl.Int64)
    return rates.sort(batch, maintain_order=True).group_by(KEY, maintain_order=True).agg(pl.col("value").first())


def counted(cells: list[Candidate], constraints: Constraints) -> tuple[tuple[str, ...], dict[str, int]]:
    """The scores that count for a model's ``cells``, and how many cells have each of its others."""
    judged = [cell for cell in cells if not cell.is_float] or cells
    own = constraints.scores
    losses = tuple(score for score in own if kind(score) != "divergence")
    asked = own if constraints.named or not losses else losses
    if constraints.max_drop is not None and not losses:
        asked = ()
    having = {score: sum(cell.has(score) for cell in judged) for score in asked}
    measured = {score: n for score, n in having.items() if n}
    held = [score for score, n in measured.items() if constraints.named or 2 * n > len(judged)]
    held = held or [score for score, n in measured.items() if n == max(measured.values())]
    return tuple(held), {score: n for score, n in measured.items() if score not in held}


def violations(candidate: Candidate, constraints: Constraints, scores: tuple[str, ...], sure: bool) -> dict[str, float]:
    """By how much a cell misses each constraint, relative to it (a drop: in absolute terms); inf: not measured.

    ``sure``: a loss is held to the limit with the upper end of its interval, and not as it was measured.
    """
    found = {}
    if constraints.memory is not None and candidate.bytes > constraints.memory:
        found["memory"] = candidate.bytes / constraints.memory - 1 if constraints.memory else math.inf
    if (limit := constraints.max_drop) is not None:
        for score in scores:
            drop = candidate.drop[score][sure] if score in candidate.drop else -math.inf  # a KL loses nothing relative
            if drop > limit:
                found[score] = drop - limit
    if (wanted := constraints.tokens_per_second) is not None:
        rate = candidate.tokens_per_second
        if rate is None or rate < wanted:
            found["tokens per second"] = wanted / rate - 1 if rate else math.inf
    return found


def recommend(cells: list[Candidate], constraints: Constraints, stderrs: Stderrs) -> Recommendation:
    """The cells of one model that satisfy ``constraints``, best first; ``stderrs`` of differences: ``(score, id, id)``.

    A smaller or faster cell is preferred to a better one only within the limit that was given or, where none was, if
    it cannot be told from the best.
    """
    scores, uncounted = counted(cells, constraints)
    lacks = {cell.id: tuple(score for score in scores if not cell.has(score)) for cell in cells}
    whole = [cell for cell in cells if not lacks[cell.id]] if scores else []
    lacking = [(cell, lacks[cell.id]) for cell in cells if lacks[cell.id]]
    result = Recommendation([], scores, uncounted, lacking)
    missed = {cell.id: violations(cell, constraints, scores, True) for cell in whole}
    result.satisfying = ranked([cell for cell in whole if not missed[cell.id]], constraints, scores, stderrs)
    nearly = [cell for cell in whole if not violations(cell, constraints, scores, False)]
    hoped = ranked(nearly, constraints, scores, stderrs)
    if hoped and hoped[0].id != (result.best.id if result.best else ""):
        result.unsure = hoped[0]
    if not result.satisfying:
        nearest = min(whole, key=lambda cell: (max(missed[cell.id].values()), cell.id), default=None)
        result.miss, result.violations = nearest, missed[nearest.id] if nearest else {}
    if len(result.satisfying) > 1:
        first, second = result.satisfying[:2]
        result.margin = loss(second, scores[0]) - loss(first, scores[0])
        result.margin_stderr = pair_stderr(stderrs, scores[0], first.id, second.id)
    return result


def ranked(
    cells: list[Candidate], constraints: Constraints, scores: tuple[str, ...], stderrs: Stderrs
) -> list[Candidate]:
    """Best first: by what is preferred, and by quality among those that it does not tell apart.

    Cells as large as the float model that are not better than it by more than chance come last.
    """
    if not cells:
        return []
    by_quality = sorted(cells, key=lambda cell: (loss(cell, scores[0]), cell.bytes, cell.id))
    base = next((cell for cell in cells if cell.is_float), None)
    if base is not None:
        vain = [cell.id for cell in by_quality if cell is not base and in_vain(cell, base, scores, stderrs)]
        by_quality.sort(key=lambda cell: cell.id in vain)
    if constraints.prefer == "quality":
        return by_quality
    if constraints.max_drop is None:
        best = by_quality[0]
        by_quality = [cell for cell in by_quality if not any(worse(cell, best, one, stderrs) for one in scores)]
    return by_preference(by_quality, constraints.prefer)


def in_vain(cell: Candidate, base: Candidate, scores: tuple[str, ...], stderrs: Stderrs) -> bool:
    """Whether a cell is as large as the float model and no better by more than chance."""
    return cell.bytes >= (1 - TIE) * base.bytes and not any(worse(base, cell, one, stderrs) for one in scores)


def by_preference(by_quality: list[Candidate], prefer: str) -> list[Candidate]:
    """Smallest or fastest first; of those within :data:`TIE` of that one, the best."""
    left, found = list(by_quality), []
    while left:
        least = min(cost(cell, prefer) for cell in left)
        found.append(next(cell for cell in left if cost(cell, prefer) <= (1 + TIE) * least))
        left.remove(found[-1])
    return found


def cost(cell: Candidate, prefer: str) -> float:
    """Bytes, or seconds for a token."""
    if prefer == "size":
        return float(cell.bytes)
    return 1 / cell.tokens_per_second if cell.tokens_per_second else math.inf


def loss(cell: Candidate, score: str) -> float:
    """What is comparable, turned so that less is better."""
    return cell.comparable[score] if better_when_lower(score) else -cell.comparable[score]


def worse(cell: Candidate, other: Candidate, score: str, stderrs: Stderrs) -> bool:
    """Whether ``cell`` is worse than ``other`` by more than chance."""
    if cell.id == other.id:
        return False
    return loss(cell, score) - loss(other, score) > NORMAL * pair_stderr(stderrs, score, cell.id, other.id)


def pair_stderr(stderrs: Stderrs, score: str, a: str, b: str) -> float:
    """The standard error of the difference of two cells, which are in the table in one order."""
    return stderrs[score, a, b] if (score, a, b) in stderrs else stderrs[score, b, a]


def chosen_scores(asked: Iterable[str], scores: pl.DataFrame) -> tuple[str, ...]:
    """Score names that ``--task`` names: in full, or every one of a corpus or suite; all for none.

    Raises :class:`UserError` for what the report did not measure.
    """
    known = scores.select("score", "suite", "task").unique(maintain_order=True).rows()
    found: dict[str, None] = {}
    for word in asked:
        matching = [names[0] for names in known if word in names]
        if not matching:
            short = {name for names in known for name in names[1:] if name}
            raise UserError(f"--task is '{word}', which this report did not measure{did_you_mean(word, short)}")
        found |= dict.fromkeys(matching)
    return tuple(found or dict.fromkeys(names[0] for names in known))


def parse_bytes(text: str) -> float:
    """``24GB`` (10⁹) or ``24GiB`` (2³⁰) in bytes.

    Raises :class:`UserError` for anything else.
    """
    number, unit = _split(text)
    if number is None or unit.upper() not in UNITS:
        raise UserError(f"--memory is '{text}': write a number and its unit, such as 24GB or 22GiB")
    return number * UNITS[unit.upper()]


def parse_share(text: str) -> float:
    """``1%`` or ``0.01`` as 0.01.

    Raises :class:`UserError` for anything else.
    """
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
