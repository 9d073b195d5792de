"""The page, figures and scores anew from a folder's stored tables."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  ptqbench page reports/strategies
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "report", type=Path, help="folder with results, cells, items and, where known, origins as parquet"
    )


def lines(args: argparse.Namespace) -> list[str]:
    """Where the page is; tables of an earlier version lack columns."""
    import polars as pl

    from ptqbench.reporting.folder import read
    from ptqbench.reporting.provenance import origins_of
    from ptqbench.reporting.results import CELLS, ITEMS, RESULTS
    from ptqbench.reporting.written import compared, write_report

    tables = {}
    for name, schema in (("results", RESULTS), ("cells", CELLS), ("items", ITEMS)):
        tables[name] = pl.concat([pl.DataFrame(schema=schema), read(args.report, name)], how="diagonal_relaxed")
    known = (args.report / "origins.parquet").is_file()
    origins = origins_of(read(args.report, "origins")) if known else {}
    write_report({**tables, **compared(tables)}, origins, {}, args.report / "index.html")
    return [str(args.report / "index.html")]
