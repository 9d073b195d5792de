"""``index.html``: one file, offline."""

from __future__ import annotations

import html
from pathlib import Path

import polars as pl
from great_tables import GT

from ptqbench.reporting.figures import FLOAT
from ptqbench.reporting.tables import wide

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ptqbench report</title>
<style>
:root {{ color-scheme: light; }}
body {{ font-family: system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
figure {{ margin: 2rem 0; overflow-x: auto; }} .wide {{ overflow-x: auto; }}
</style></head><body>
<h1>Post-training quantization: results</h1>
<p>{headline}</p>
<div class="wide">{table}</div>
<figure>{figure}<figcaption>Perplexity (log scale, lower is better) over bits per weight; the dashed rule is the
unquantized model.</figcaption></figure>
<p>Proxy loss is the sum over all linears of tr(ΔW H ΔW<sup>T</sup>), the output error on the calibration tokens.
A fallback is a layer, or an export, that did not run as asked: <code>cells.parquet</code> names them.</p>
</body></html>
"""


def page(results: pl.DataFrame, cells: pl.DataFrame, figure: Path) -> str:
    """The page; everything that came from a config or a task is escaped."""
    table = wide(results, cells)
    grouped = GT(table, rowname_col="method", groupname_col="model").fmt_number(
        columns=[name for name, kind in table.schema.items() if kind == pl.Float64], n_sigfig=4
    )
    grouped = grouped.sub_missing(missing_text="")
    return PAGE.format(headline=html.escape(headline(results)), table=grouped.as_raw_html(), figure=figure.read_text())


def headline(results: pl.DataFrame) -> str:
    """What was compared, in one sentence."""
    compared = results.filter(pl.col("method") != FLOAT)
    counts = [_count(compared[key].n_unique(), key) for key in ("model", "method", "scheme")]
    return f"{', '.join(counts)}, against the unquantized model."


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
