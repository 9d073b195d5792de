"""What a KL to the float model says of tasks: how both order a report's cells, near the float model and far from it.

``PYTHONPATH=src python benchmarks/fidelity.py --report reports --near w8 w4g128`` reads a report whose grid has a suite
of kind fidelity beside one of tasks, and prints two tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.over_seeds import merged
from ptqbench.reporting.tables import KEY, markdown
from ptqbench.spec import FLOAT_METHOD


def cells(scores: pl.DataFrame, model: str) -> pl.DataFrame:
    """One row a quantized cell: its KL, and what it loses on every other score, with standard errors."""
    own = scores.filter(pl.col("model") == model, pl.col("method") != FLOAT_METHOD)
    table = own.select(KEY).unique(maintain_order=True)
    for (name, kind), rows in own.group_by("score", "kind", maintain_order=True):
        shown = ("value", "stderr") if kind == "divergence" else ("delta", "delta_stderr")
        columns = {f"{name}{' difference' if kind != 'divergence' else ''}": shown[0], f"± {name}": shown[1]}
        table = table.join(rows.select(*KEY, **columns), on=KEY, how="left", maintain_order="left")
    return table.drop("model", "calibration")


def verdicts(pairs: pl.DataFrame, score: str) -> dict[frozenset[str], tuple[str, float, bool]]:
    """Of every two cells: one of them, by how much it has more of a score, and whether that is beyond chance."""
    rows = pairs.filter(pl.col("score") == score).select("a", "b", "difference", "stderr").rows()
    return {frozenset((a, b)): (a, difference, abs(difference) > NORMAL * stderr) for a, b, difference, stderr in rows}


def agreement(pairs: pl.DataFrame, kl: str, other: str, sign: int, chosen: Sequence[str]) -> dict[str, object]:
    """Over pairs of ``chosen`` cells: how many each score tells apart, and how often both have the same order."""
    ours, theirs = verdicts(pairs, kl), verdicts(pairs, other)
    both = [pair for pair in ours if pair in theirs and pair <= set(chosen)]
    told = [[pair for pair in both if found[pair][2]] for found in (ours, theirs)]

    def alike(some: list[frozenset[str]]) -> str:
        same = 0
        for pair in some:
            (a, by, _), (b, than, _) = ours[pair], theirs[pair]
            same += (by > 0) == (sign * than * (1 if a == b else -1) > 0)
        return f"{same} of {len(some)}"

    return {
        "against": other,
        "pairs": len(both),
        "told apart by KL": len(told[0]),
        "by the other": len(told[1]),
        "same order, all pairs": alike(both),
        "same order, told apart by the other": alike(told[1]),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--report", type=Path, default=Path("reports"))
    arguments.add_argument("--model", default="pocket-llama")
    arguments.add_argument("--near", nargs="+", default=["w8", "w4g128"], help="schemes near the float model")
    args = arguments.parse_args()
    names = ("cells", "scores", "results", "pairs")
    tables = merged({name: pl.read_parquet(args.report / f"{name}.parquet") for name in names})
    scores = tables["scores"].filter(pl.col("model") == args.model)
    kinds = dict(scores.select("score", "kind").unique(maintain_order=True).rows())
    kl = next(name for name, kind in kinds.items() if kind == "divergence")
    print(markdown(cells(scores, args.model)), end="\n\n")
    found = []
    own = scores.filter(pl.col("score") == kl, pl.col("method") != FLOAT_METHOD).to_dicts()
    for what, inside in (("near", True), ("far", False)):
        chosen = [Cell.of(row).path for row in own if (row["scheme"] in args.near) is inside]
        for other in (name for name in kinds if name != kl):
            sign = -1 if kinds[other] == "accuracy" else 1
            found.append({"cells": what, **agreement(tables["pairs"], kl, other, sign, chosen)})
    print(markdown(pl.DataFrame(found)))


if __name__ == "__main__":
    main()
