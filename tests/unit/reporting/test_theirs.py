"""A checkpoint of others in the report: beside ours by bytes and scores, and apart where its method would count."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import polars as pl
import pytest
import report_data

from ptqbench.cells import Cell
from ptqbench.commands import card, recommend
from ptqbench.errors import UserError
from ptqbench.reporting.figures import points
from ptqbench.reporting.page import headline
from ptqbench.reporting.page import page as whole
from ptqbench.reporting.recommend import candidates
from ptqbench.reporting.scores import collect_scores, pairs_table, scores_table
from ptqbench.reporting.tables import summary
from ptqbench.reporting.taxonomy import taxonomy
from ptqbench.reporting.written import write_table

OURS, THEIRS = Cell("plain", "c", "rtn", "w4"), Cell("plain", "unknown", "their<s>", "theirs")
TOLD = "exl3, bits unknown; method and calibration unknown"
Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def tables() -> Tables:
    """The made-up report, with one of its cells as if others had made it."""

    def renamed(table: pl.DataFrame) -> pl.DataFrame:
        is_it = pl.all_horizontal(pl.col(name) == value for name, value in OURS.columns.items())
        new = [pl.when(is_it).then(pl.lit(value)).otherwise(name).alias(name) for name, value in THEIRS.columns.items()]
        if "strategy" in table.columns:
            told = {"theirs": TOLD, "strategy": ["theirs"], "bits": None, "range": None, "propagate": None}
            new += [pl.when(is_it).then(pl.lit(value)).otherwise(name).alias(name) for name, value in told.items()]
        return table.with_columns(new)

    results, items = map(renamed, report_data.scored())
    found = collect_scores(results, items)
    compared = {"scores": scores_table(found), "pairs": pairs_table(found)}
    return {"results": results, "items": items, "cells": renamed(report_data.cells()), **compared}


def test_it_is_recommended_by_its_bytes_with_what_is_not_known(tables: Tables, tmp_path: Path) -> None:
    found = {cell.key: cell for cell in candidates(tables["cells"], tables["scores"], tables["results"])}
    cell, own = found[THEIRS], found[OURS._replace(scheme="w3")]
    assert cell.bits == "unknown"
    assert cell.caveats[0] == f"made by others: {TOLD}"
    assert not any("others" in caveat for caveat in own.caveats)
    assert set(cell.drop) == set(own.drop)
    for name in ("cells", "scores", "results", "pairs"):
        write_table(tables[name], tmp_path / name)
    shared = {"report": tmp_path, "climb": False, "task": [], "memory": None, "tokens_per_second": None}
    asked = Namespace(**shared, model="plain", method="their<s>", bits=None, max_drop="20%", prefer="size")
    said = recommend.lines(asked)
    assert said[0] == f"deploy  {THEIRS.path}"
    assert f"sure?   made by others: {TOLD}" in said
    with pytest.raises(UserError, match="was made by others, and how is not known here"):
        card.lines(Namespace(cell=THEIRS.path, report=tmp_path))


def test_it_is_in_the_tables_and_figures_and_in_no_class(tables: Tables) -> None:
    score = tables["scores"]["score"][0]
    assert f"| plain | unknown | their<s> | theirs | {TOLD} |" in summary(tables["scores"], tables["cells"])
    drawn = points(tables["scores"], tables["cells"], "plain", score)
    assert drawn.filter(pl.col("cell") == "their<s> theirs")["strategy"].to_list() == ["theirs"]
    classes = taxonomy(tables["scores"], tables["cells"], "plain", score)
    assert "their" not in classes
    assert "gptq" in classes
    assert "3 methods, 3 schemes, 1 checkpoint of others, against" in headline(tables["results"])


def test_the_page(tables: Tables) -> None:
    text = whole(tables, {}, {})
    assert text.count(TOLD) >= 2  # its entry, and the data of the recommendation
    assert "their&lt;s&gt;" in text
    assert "their<s>" not in text
