"""A model card for the hub: what a checkpoint is, how it was made, what it recovers, and the source's licence."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  ptqbench card my-model/wikitext2/awq/w4g128 > README.md
  ptqbench card my-model/wikitext2/awq/w4g128 --report /scratch/mine/reports
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("cell", metavar="MODEL/CALIBRATION/METHOD/SCHEME", help="as `recommend` names it")
    parser.add_argument("--report", type=Path, default=Path("reports"), help="folder of the report")


def lines(args: argparse.Namespace) -> list[str]:
    """What it prints."""
    from ptqbench.cells import Cell
    from ptqbench.errors import UserError, did_you_mean
    from ptqbench.reporting.folder import read
    from ptqbench.reporting.model_card import card, licence, source_of
    from ptqbench.reporting.rows import ScoreRow

    cells = {Cell.of(row).path: row for row in read(args.report, "cells").iter_rows(named=True)}
    if args.cell not in cells:
        raise UserError(f"'{args.cell}' is no cell of {args.report}{did_you_mean(args.cell, cells)}")
    cell = cells[args.cell]
    if cell.get("theirs"):
        raise UserError(f"'{args.cell}' was made by others, and how is not known here: name a cell of this run")
    folder = args.report.resolve().parent
    source = source_of(folder / "results/models" / cell["model"] / "manifest.json")
    scores = map(ScoreRow.of, read(args.report, "scores").iter_rows(named=True))
    return card(cell, [row for row in scores if row.cell.path == args.cell], source, licence(folder / source.folder))
