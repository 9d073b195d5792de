"""Cells that differ in their seed alone, taken together: their mean is a cell of its own, the spread is beside it.

Of a perplexity the mean is over losses, so that windows pair as they do for single cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.scores import Found, Score, gather, kind
from ptqbench.reporting.tables import KEY

Groups = dict[Cell, list[Cell]]


def groups(cells: pl.DataFrame) -> Groups:
    """The cells of each set of seeds, in the order of the seeds, by what stands for all; tables may be older."""
    if "seeds_of" not in cells.columns:
        return {}
    found: Groups = {}
    for row in cells.filter(pl.col("seeds_of").is_not_null()).sort("seed").iter_rows(named=True):
        found.setdefault(Cell.parse(row["seeds_of"]), []).append(Cell.of(row))
    return {mean: members for mean, members in found.items() if len(members) > 1}


def add_means(found: Found, together: Groups) -> None:
    """Add to every score that all cells of a group have the mean over them, and pair it with the others."""
    for key, scores in found.items() if together else ():
        for mean, cells in together.items():
            if all(cell in scores for cell in cells):
                scores[mean] = mean_score([scores[cell] for cell in cells], kind(key.name))
        gather(scores)


def mean_score(seeds: Sequence[Score], what: str) -> Score:
    """The mean of scores of one kind: item by item, where all have the same items."""
    values = [one.value for one in seeds]
    if what == "perplexity":
        value = math.exp(float(np.mean(np.log(values))))
        stderr = value * float(np.mean([one.stderr / one.value for one in seeds]))
    else:
        value, stderr = float(np.mean(values)), float(np.mean([one.stderr for one in seeds]))
    comparable = float(np.mean([one.comparable for one in seeds]))
    made = Score(value, stderr, comparable, min(one.n for one in seeds), seeds=tuple(seeds))
    if seeds[0].evidence is not None and all(one.evidence is seeds[0].evidence for one in seeds):
        made.weights = seeds[0].weights
        made.strata = {name: np.mean([one.strata[name] for one in seeds], axis=0) for name in made.weights}
        made.stderr = own_error(made, what)
    return made


def own_error(score: Score, what: str) -> float:
    """Its standard error over windows or documents, which all seeds share."""
    parts = (
        score.weights[name] ** 2 * one.var(ddof=1) / len(one) for name, one in score.strata.items() if len(one) > 1
    )
    if not any(len(one) > 1 for one in score.strata.values()):
        return math.nan
    return math.sqrt(math.fsum(parts)) * {"perplexity": score.value, "divergence": 1.0, "accuracy": 100.0}[what]


def merged(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables with one row for the seeds of a cell: what they are together, as the cell of the first seed.

    ``cells`` keeps the first seed's row, whose checkpoint is the one to serve; ``scores`` and ``pairs`` have the means.
    """
    together = groups(tables["cells"])
    if not together:
        return tables
    first = {mean: cells[0] for mean, cells in together.items()}
    hidden = {cell for cells in together.values() for cell in cells}
    others = hidden - set(first.values())
    names = {mean.path: cell.path for mean, cell in first.items()}
    rows = [renamed(row, first) for row in tables["scores"].iter_rows(named=True) if Cell.of(row) not in hidden]
    pairs = tables["pairs"].filter(*(~pl.col(side).is_in([cell.path for cell in hidden]) for side in ("a", "b")))
    order = {cell: index for index, cell in enumerate(map(Cell.of, tables["cells"].iter_rows(named=True)))}
    rows.sort(key=lambda row: order[Cell.of(row)])
    names_of = tables["scores"]["score"].unique(maintain_order=True).to_list()
    rows.sort(key=lambda row: names_of.index(row["score"]))
    scores = pl.DataFrame(rows, schema=tables["scores"].schema)
    return {
        **tables,
        "cells": without(tables["cells"], others),
        "results": with_means(without(tables["results"], others), scores),
        "scores": scores,
        "pairs": pairs.with_columns(pl.col("a").replace(names), pl.col("b").replace(names)),
    }


def with_means(results: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The results with the means in place of what the first seed has, where a row of them is a score."""
    on, numbers = [*KEY, "suite", "task", "metric"], ("value", "stderr")
    means = scores.filter(pl.col("seeds").is_not_null()).select(*on, *(pl.col(one).alias(f"{one}_") for one in numbers))
    joined = results.join(means, on=on, how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(f"{one}_", one).alias(one) for one in numbers).select(results.columns)


def renamed(row: dict[str, Any], first: dict[Cell, Cell]) -> dict[str, Any]:
    """A mean's row as its first seed's."""
    return {**row, **first.get(Cell.of(row), Cell.of(row)).columns}


def without(table: pl.DataFrame, cells: set[Cell]) -> pl.DataFrame:
    """The rows of other cells."""
    names = [cell.path for cell in cells]
    return table.filter(~pl.concat_str(KEY, separator="/").is_in(names))
