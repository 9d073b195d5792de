"""The figures of the report."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import polars as pl

from ptqbench.manifest import atomic
from ptqbench.reporting.tables import KEY

FLOAT = "float"


def size_against_quality(results: pl.DataFrame, cells: pl.DataFrame) -> alt.FacetChart | alt.LayerChart:
    """Perplexity over bits per weight, a line a method and a panel a model and corpus; the float model is the rule."""
    scores = results.filter(pl.col("metric") == "perplexity").select(*KEY, "task", "value", "stderr")
    data = scores.join(cells.select(*KEY, "bits_per_weight"), on=KEY)
    data = data.with_columns(panel=pl.col("model") + ", " + pl.col("task"))
    floats = data.filter(pl.col("method") == FLOAT).select("panel", baseline="value")
    data = data.filter(pl.col("method") != FLOAT).join(floats, on="panel", how="left")
    base = alt.Chart(data)
    x = alt.X("bits_per_weight:Q", title="bits per weight", scale=alt.Scale(zero=False))
    y = alt.Y("value:Q", title="perplexity", scale=alt.Scale(type="log"))
    lines = base.mark_line(point=True).encode(x=x, y=y, color=alt.Color("method:N", title="method"))
    rule = base.mark_rule(strokeDash=[4, 4], color="gray").encode(y=alt.Y("baseline:Q", title="perplexity"))
    layered = alt.layer(rule, lines).properties(width=320, height=240)
    panels = layered.facet(facet=alt.Facet("panel:N", title=None), columns=2).resolve_scale(y="independent")
    return panels.properties(padding={"left": 5, "right": 20, "top": 5, "bottom": 5})  # the legend's title is wide


def write_figure(figure: alt.FacetChart | alt.LayerChart, stem: Path) -> None:
    """Write ``stem.svg`` and ``stem.png``."""
    for suffix, options in ((".svg", {}), (".png", {"scale_factor": 2})):
        with atomic(stem.with_suffix(suffix)) as temporary:
            figure.save(str(temporary), format=suffix[1:], **options)
