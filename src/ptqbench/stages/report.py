"""The tables and the page, from every artifact of the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ptqbench.atomic import atomic, write_text
from ptqbench.errors import user_facing
from ptqbench.locks import claim
from ptqbench.records import Planned
from ptqbench.reporting.collect import cells_table, items_table, layers_table, results_table, with_serve_flags
from ptqbench.reporting.diagnosis import addresses, read_diagnoses
from ptqbench.reporting.diagnosis_page import comparison
from ptqbench.reporting.diagnosis_page import page as diagnosis_page
from ptqbench.reporting.figures import across_models, size_against_quality, write_figure
from ptqbench.reporting.names import COMPARISON, DIAGNOSIS
from ptqbench.reporting.page import page
from ptqbench.reporting.provenance import provenance
from ptqbench.reporting.scores import collect_scores, pairs_table, scores_table
from ptqbench.reporting.tables import summary
from ptqbench.sealed import read
from ptqbench.stages.common import parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--plan", type=Path, required=True, help="JSON: the cells and evaluations to report")
    arguments.add_argument("--results", type=Path, required=True, help="the folder that holds the artifacts")
    args = arguments.parse_args(argv)
    claim(args.out)
    plan: Any = read(args.plan, Planned)
    folder = args.out.parent
    results = results_table(plan["evaluations"], args.results)
    cells = with_serve_flags(cells_table(plan["cells"], args.results), plan["evaluations"], args.results)
    items = items_table(plan["evaluations"], args.results)
    found = collect_scores(results, items)
    tables = {
        "results": results,
        "cells": cells,
        "layers": layers_table(plan["cells"], args.results),
        "items": items,
        "scores": scores_table(found),
        "pairs": pairs_table(found),
    }
    for name, table in tables.items():
        write_table(table, folder / name)
    write_figure(size_against_quality(tables["scores"], cells), folder / "size_against_quality")
    write_figure(across_models(tables["scores"], cells), folder / "across_models")
    write_text(folder / "summary.md", summary(results, cells))
    diagnoses = read_diagnoses(plan["diagnosed"], args.results)
    for one in diagnoses:
        write_text(folder / DIAGNOSIS / one.page, diagnosis_page(one))
    if diagnoses:
        write_text(folder / DIAGNOSIS / COMPARISON, comparison(diagnoses))
    write_text(args.out, page(tables, provenance(plan, args.results), addresses(diagnoses)))


def write_table(table: pl.DataFrame, stem: Path) -> None:
    """``stem.parquet``, and ``stem.csv`` with lists as text."""
    lists = [pl.col(name).list.join("; ") for name, kind in table.schema.items() if kind == pl.List(pl.String)]
    nested = [name for name, kind in table.schema.items() if kind == pl.List(pl.Float64)]
    with atomic(stem.with_suffix(".parquet")) as temporary:
        table.write_parquet(temporary)
    with atomic(stem.with_suffix(".csv")) as temporary:
        table.with_columns(lists).drop(nested).write_csv(temporary)


if __name__ == "__main__":
    main()
