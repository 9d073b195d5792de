"""The page, figures and scores anew from a folder's stored tables."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  ptqbench page reports/strategies
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("report", type=Path, help="folder with results, cells and items as parquet")


def lines(args: argparse.Namespace) -> list[str]:
    """Where the page is; tables of an earlier version lack columns."""
    import polars as pl

    from ptqbench.reporting.collect import CELLS, ITEMS, RESULTS
    from ptqbench.reporting.folder import read
    from ptqbench.reporting.written import compared, write_report

    tables = {}
    for name, schema in (("results", RESULTS), ("cells", CELLS), ("items", ITEMS)):
        tables[name] = pl.concat([pl.DataFrame(schema=schema), read(args.report, name)], how="diagonal_relaxed")
    write_report({**tables, **compared(tables)}, {}, {}, args.report / "index.html")
    return [str(args.report / "index.html")]
