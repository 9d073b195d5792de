"""Two reports of the same cells: made on two hosts, or before and after a change."""

from __future__ import annotations

import polars as pl

from ptqbench.reporting.headline import PERPLEXITY, divergences, headlined
from ptqbench.reporting.results import RESULTS

KEY = ("model", "calibration", "method", "scheme", "suite", "task", "metric")


def differences(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """One row per score that both results tables have: ``value``, ``other``, and ``distance`` in standard errors.

    The standard error is the larger of both scores', over their items. Scored on the same ones, equal codes are far
    less than one apart, and different codes of one method commonly by as much. Windows of another length are no score
    that both have.
    """
    scores = [scored(table).select(*KEY, "window", "value", "stderr") for table in (before, after)]
    joined = scores[0].join(scores[1], on=KEY, suffix="_other", maintain_order="left")
    joined = joined.filter((pl.col("window") == pl.col("window_other")).fill_null(True))
    difference = (pl.col("value_other") - pl.col("value")).abs()
    error = pl.max_horizontal("stderr", "stderr_other")
    distance = pl.when(difference == 0).then(0.0).otherwise(difference / error)
    return joined.select(*KEY, "value", pl.col("value_other").alias("other"), distance.alias("distance"))


def scored(table: pl.DataFrame) -> pl.DataFrame:
    """One metric a task: bits per byte, which say what a perplexity does, or the headline; tables may be older."""
    whole = pl.concat([pl.DataFrame(schema=RESULTS), table], how="diagonal_relaxed")
    return pl.concat([whole.filter(pl.col("metric") == PERPLEXITY[1]), divergences(whole), headlined(whole)])


def told(found: pl.DataFrame, beyond: float, most: int) -> list[str]:
    """Lines for a terminal: how many scores both have, how far apart they are, and those farther than ``beyond``."""
    if found.is_empty():
        return ["no score is in both reports"]
    far = found.filter(pl.col("distance") > beyond).sort("distance", descending=True)
    median = found.select(pl.col("distance").median()).item()
    lines = [
        f"{len(found)} scores are in both, {median:.2g} standard errors apart in the median, "
        f"{len(far)} by more than {beyond:g}"
    ]
    for row in far.head(most).iter_rows(named=True):
        cell = "/".join(row[name] for name in KEY[:4])
        change = f"{row['value']:.4g} -> {row['other']:.4g} {row['metric'].replace('_', ' ')}"
        lines.append(f"{row['distance']:7.1f}  {cell}  {row['suite']}/{row['task']}: {change}")
    hidden = len(far) - most
    return lines + ([f"         and {hidden} more"] if hidden > 0 else [])
