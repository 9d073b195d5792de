"""Models of one family at equal bytes: a larger one at fewer bits against a smaller one at more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.frontier import pareto
from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.recommend import pair_stderr
from ptqbench.reporting.scores import better_when_lower
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

Stderrs = dict[tuple[str, str, str], float]


@dataclass(frozen=True)
class Duel:
    """The best cell of each of two models within ``bytes``, those of a cell on the frontier of the smaller one.

    ``lead`` is the larger model's, in what is comparable over models and positive where it is better; ``larger`` is
    None where no cell of it is so small.
    """

    bytes: int
    smaller: Cell
    larger: Cell | None = None
    lead: float = 0.0
    stderr: float = 0.0

    @property
    def significant(self) -> bool:
        """Whether the lead is more than chance."""
        return abs(self.lead) > NORMAL * self.stderr


def families(cells: pl.DataFrame) -> dict[str, list[str]]:
    """The models of each family that has several, the largest first."""
    floats = cells.filter(pl.col("method") == FLOAT_METHOD).sort("checkpoint_bytes", descending=True)
    groups = floats.group_by("family", maintain_order=True).agg("model").rows()
    return {family: models for family, models in groups if len(models) > 1}


def duels(
    scores: pl.DataFrame, cells: pl.DataFrame, larger: str, smaller: str, score: str, stderrs: Stderrs
) -> list[Duel]:
    """Who is better within the bytes of each cell on the smaller model's frontier, fewest bytes first."""
    sign = 1 if better_when_lower(score) else -1
    mine, others = (measured(scores, cells, model, score) for model in (smaller, larger))
    on = pareto([row["checkpoint_bytes"] for row in mine], [sign * row["comparable"] for row in mine])
    found = []
    for row in (row for row, best in zip(mine, on, strict=True) if best):
        size, key = row["checkpoint_bytes"], Cell.of(row)
        fitting = [one for one in others if one["checkpoint_bytes"] <= size]
        if not fitting:
            found.append(Duel(size, key))
            continue
        best_fit = min(fitting, key=lambda one: sign * one["comparable"])
        lead = sign * (row["comparable"] - best_fit["comparable"])
        other = Cell.of(best_fit).path
        found.append(Duel(size, key, Cell.of(best_fit), lead, pair_stderr(stderrs, score, key.path, other)))
    return found


def measured(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str) -> list[dict[str, Any]]:
    """A model's cells with a score, the float one included, by rising bytes."""
    own = scores.filter(pl.col("model") == model, pl.col("score") == score)
    sized = own.join(cells.select(*KEY, "checkpoint_bytes"), on=KEY, maintain_order="left")
    return sized.sort("checkpoint_bytes", maintain_order=True).to_dicts()


def verdict(larger: str, smaller: str, found: list[Duel]) -> str:
    """The duels of two models in one sentence."""
    fought = [duel for duel in found if duel.larger is not None]
    if not fought:
        return f"No cell of {larger} is as small as one of {smaller} that is worth having."
    won = sum(duel.significant and duel.lead > 0 for duel in fought)
    lost = sum(duel.significant and duel.lead < 0 for duel in fought)
    sizes = f"{len(fought)} size" + ("s" if len(fought) > 1 else "")
    open_ = len(fought) - won - lost
    told = f", and {open_} cannot be told" if open_ else ""
    return (
        f"At equal bytes {larger} at fewer bits is better at {won}, and {smaller} at more bits at {lost}, of the "
        f"{sizes} where both have a cell{told}."
    )
