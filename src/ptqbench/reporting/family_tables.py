"""Sizes of one family at equal bytes, as markup."""

from __future__ import annotations

from itertools import combinations

import polars as pl

from ptqbench.reporting.answer import size
from ptqbench.reporting.family import Duel, Stderrs, duels, verdict
from ptqbench.reporting.figures import family_figure, svg
from ptqbench.reporting.markup import cell_link, escape, identifier, short, table
from ptqbench.reporting.scores import better_when_lower, over_models


def family_section(models: list[str], scores: pl.DataFrame, cells: pl.DataFrame, stderrs: Stderrs, name: str) -> str:
    """For each score every pair of a family's models, the larger at fewer bits against the smaller at more."""
    parts = []
    for score in over_models(scores).filter(pl.col("model").is_in(models))["score"].unique(maintain_order=True):
        measured = set(scores.filter(pl.col("score") == score)["model"])
        both = [model for model in models if model in measured]
        if len(both) < 2:
            continue
        identity = f"{name}-{identifier(score)}"
        parts.append(
            f"<h4>{escape(score)}</h4><figure>{svg(family_figure(scores, cells, both, score), identity)}</figure>"
        )
        for number, (larger, smaller) in enumerate(combinations(both, 2)):
            found = duels(scores, cells, larger, smaller, score, stderrs)
            parts.append(f"<p>{escape(verdict(larger, smaller, found))}</p>")
            parts.append(duel_table(larger, smaller, found, score, f"{identity}-{number}"))
    return "".join(parts)


def duel_table(larger: str, smaller: str, found: list[Duel], score: str, name: str) -> str:
    """One row for each size of the smaller model that is worth having."""
    unit = "bits per byte" if better_when_lower(score) else "points"
    columns: dict[str, list[str]] = {"within": [], smaller: [], larger: [], f"better by, {unit}": []}
    for duel in found:
        columns["within"].append(size(duel.bytes))
        columns[smaller].append(cell_link(duel.smaller, " ".join(duel.smaller[2:])))
        if duel.larger is None:
            columns[larger].append("none is so small")
            columns[f"better by, {unit}"].append("")
            continue
        columns[larger].append(cell_link(duel.larger, " ".join(duel.larger[2:])))
        numbers = f"{short(abs(duel.lead), 3)} ± {short(duel.stderr, 2)}"
        told = larger if duel.lead > 0 else smaller
        columns[f"better by, {unit}"].append(escape(f"{told}: {numbers}" if duel.significant else f"≈ {numbers}"))
    return table(columns, f"duels-{name}")
