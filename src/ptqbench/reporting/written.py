"""The report as files: tables, figures, summary and page."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ptqbench.atomic import atomic, write_text
from ptqbench.cells import Cell
from ptqbench.reporting.figures import across_models, size_against_quality, write_figure
from ptqbench.reporting.over_seeds import add_means, groups, merged
from ptqbench.reporting.page import page
from ptqbench.reporting.provenance import Origin, origins_table
from ptqbench.reporting.scores import collect_scores, pairs_table, scores_table
from ptqbench.reporting.tables import summary

Tables = dict[str, pl.DataFrame]


def compared(tables: Tables) -> Tables:
    """``scores`` and ``pairs``, from ``results``, ``items`` and the seeds of ``cells``."""
    found = collect_scores(tables["results"], tables["items"])
    add_means(found, groups(tables["cells"]))
    return {"scores": scores_table(found), "pairs": pairs_table(found)}


def write_report(tables: Tables, origins: dict[Cell, Origin], pages: dict[Cell, str], index: Path) -> None:
    """The page ``index`` and what lies beside it; ``origins`` are what made the cells, where that is known."""
    if origins:
        tables = {**tables, "origins": origins_table(origins)}
    for name, table in tables.items():
        write_table(table, index.with_name(name))
    shown = merged(tables)
    write_figure(size_against_quality(shown["scores"], shown["cells"]), index.with_name("size_against_quality"))
    write_figure(across_models(shown["scores"], shown["cells"]), index.with_name("across_models"))
    write_text(index.with_name("summary.md"), summary(shown["scores"], shown["cells"]))
    write_text(index, page({**shown, "every_cell": tables["cells"]}, origins, pages, index.parent.as_posix()))


def write_table(table: pl.DataFrame, stem: Path) -> None:
    """``stem.parquet``, and ``stem.csv`` with lists as text."""
    lists = [pl.col(name).list.join("; ") for name, kind in table.schema.items() if kind == pl.List(pl.String)]
    nested = [name for name, kind in table.schema.items() if kind == pl.List(pl.Float64)]
    with atomic(stem.with_suffix(".parquet")) as temporary:
        table.write_parquet(temporary)
    with atomic(stem.with_suffix(".csv")) as temporary:
        table.with_columns(lists).drop(nested).write_csv(temporary)
