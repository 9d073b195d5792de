"""The tables of a report's folder."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ptqbench.errors import UserError, short


def read(report: Path, name: str) -> pl.DataFrame:
    """A table of the report.

    Raises :class:`UserError` where it is not there or no table.
    """
    file = report / f"{name}.parquet"
    if not file.is_file():
        raise UserError(f"there is no {file}: run snakemake first, or name the report's folder (--report)")
    try:
        return pl.read_parquet(file)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{file} is no table of a report ({short(error, 120)}): run snakemake again") from error
