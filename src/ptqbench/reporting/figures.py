"""The figures of the report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import polars as pl
import vl_convert

from ptqbench.atomic import atomic
from ptqbench.reporting.classes import Look, look
from ptqbench.reporting.family import families
from ptqbench.reporting.frontier import pareto
from ptqbench.reporting.scores import better_when_lower, kind, over_models
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

WIDTH, HEIGHT, SPACE = 340, 260, 0.2  # a label every fifth of the width


def points(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str) -> pl.DataFrame:
    """One row per quantized cell of a model: size, score, class, and whether it is on the frontier."""
    here = scores.filter(pl.col("model") == model, pl.col("score") == score, pl.col("method") != FLOAT_METHOD)
    data = here.join(cells.select(*KEY, "bits_per_weight", "strategy"), on=KEY, maintain_order="left")
    losses = data["value"] if better_when_lower(score) else -data["value"]
    return data.select(
        cell=pl.col("method") + " " + pl.col("scheme"),
        bits="bits_per_weight",
        value="value",
        stderr="delta_stderr",
        strategy=pl.Series([look(one).name for one in data["strategy"]], dtype=pl.String),
        frontier=pl.Series(pareto(data["bits_per_weight"].to_list(), losses.to_list()), dtype=pl.Boolean),
    )


def panel(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str, title: str) -> alt.LayerChart:
    """Size against one score: a point a cell, a line along the frontier, a rule at the float model."""
    data = points(scores, cells, model, score)
    floats = scores.filter(pl.col("model") == model, pl.col("score") == score, pl.col("method") == FLOAT_METHOD)
    if kind(score) == "divergence":
        floats = floats.filter(pl.col("value") > 0)  # its own is 0, which a logarithm has not, but for a server's noise
    ends = domain([*data["value"], *floats["value"]])
    is_log = kind(score) != "accuracy" and min([*data["value"], *floats["value"]]) > 0
    scale = alt.Scale(type="log", nice=False, padding=20) if is_log else alt.Scale(domain=ends)
    name = f"{score} ({'lower' if better_when_lower(score) else 'higher'} is better)"
    axis = alt.Axis(labelOverlap="greedy")
    x = alt.X("bits:Q", title="bits per weight", scale=alt.Scale(zero=False, padding=20), axis=axis)
    y = alt.Y("value:Q", title=name, scale=scale)
    frontier = data.filter(pl.col("frontier")).sort("bits")
    legend = alt.Legend(orient="bottom", columns=2, columnPadding=30, labelLimit=300)
    looks = classes(cells)
    names, colours, marks = (list(one) for one in zip(*looks, strict=True))
    color = alt.Color("strategy:N", title="class", scale=alt.Scale(domain=names, range=colours), legend=legend)
    shape = alt.Shape("strategy:N", title="class", scale=alt.Scale(domain=names, range=marks), legend=legend)
    shown = ["cell:N", "bits:Q", "value:Q", "stderr:Q"]
    drawn = alt.Chart(data).mark_point(size=60, filled=True, opacity=0.9)
    layers = [
        alt.Chart(frontier).mark_line(color="gray", opacity=0.6).encode(x=x, y=y),
        drawn.encode(x=x, y=y, color=color, shape=shape, tooltip=shown),
        alt.Chart(spaced(frontier)).mark_text(align="left", dx=6, dy=-6).encode(x=x, y=y, text="cell:N"),
    ]
    if len(floats):
        layers.append(alt.Chart(floats.select("value")).mark_rule(strokeDash=[4, 4], color="gray").encode(y=y))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)


def classes(cells: pl.DataFrame) -> list[Look]:
    """How each class of the quantized cells is drawn; at least one."""
    quantized = cells.filter(pl.col("method") != FLOAT_METHOD)
    return sorted({look(one) for one in quantized["strategy"]}) or [look([])]


def spaced(frontier: pl.DataFrame) -> pl.DataFrame:
    """The points, by rising size, whose labels do not run into each other; the best comes first."""
    sizes = frontier["bits"].to_list()
    kept: list[int] = []
    for index in reversed(range(len(sizes))):
        if not kept or sizes[kept[-1]] - sizes[index] >= SPACE * (sizes[-1] - sizes[0]):
            kept.append(index)
    return frontier[kept]


def size_against_quality(scores: pl.DataFrame, cells: pl.DataFrame) -> alt.ConcatChart:
    """A panel for each model and score."""
    pairs = scores.select("model", "score").unique(maintain_order=True).rows()
    made = [panel(scores, cells, model, score, model) for model, score in pairs]
    return _padded(alt.concat(*made, columns=2))


def across_models(scores: pl.DataFrame, cells: pl.DataFrame) -> alt.ConcatChart:
    """Size in bytes against what is comparable over models: all of them, then each family of several sizes."""
    made = models_by_size(scores, cells, "")
    for family, models in families(cells).items():
        if len(models) < cells["model"].n_unique():
            made += models_by_size(scores.filter(pl.col("model").is_in(models)), cells, family)
    return _padded(alt.concat(*made, columns=2).resolve_scale(color="independent"))


def all_models(scores: pl.DataFrame, cells: pl.DataFrame) -> alt.ConcatChart:
    """A panel for each score, with all models in it."""
    return _padded(alt.concat(*models_by_size(scores, cells, ""), columns=2))


def family_figure(scores: pl.DataFrame, cells: pl.DataFrame, models: list[str], score: str) -> alt.ConcatChart:
    """One score of the models of a family."""
    own = scores.filter(pl.col("model").is_in(models), pl.col("score") == score)
    return _padded(alt.concat(*models_by_size(own, cells, "")))


def models_by_size(scores: pl.DataFrame, cells: pl.DataFrame, title: str) -> list[alt.LayerChart]:
    """A panel for each score, with a colour and a frontier for each model."""
    sizes = cells.select(*KEY, megabytes=pl.col("checkpoint_bytes") / 1e6)
    data = scores.join(sizes, on=KEY, maintain_order="left")
    models = cells["model"].unique(maintain_order=True).to_list()  # each has one colour in all panels
    colours = alt.Scale(domain=models, scheme="tableau10" if len(models) <= 10 else "tableau20")
    made = []
    for score in over_models(data)["score"].unique(maintain_order=True):
        sign = 1 if better_when_lower(score) else -1
        own = data.filter(pl.col("score") == score).with_columns(cell=pl.col("method") + " " + pl.col("scheme"))
        best = pl.concat(
            group.filter(pl.Series(pareto(group["megabytes"].to_list(), (sign * group["comparable"]).to_list())))
            for _, group in own.group_by("model", maintain_order=True)
        )
        x = alt.X("megabytes:Q", title="checkpoint, MB", scale=alt.Scale(type="log", nice=False, padding=20))
        name = f"{score.removeprefix('ppl ')}, bits per byte" if sign == 1 else score
        y = alt.Y("comparable:Q", title=name, scale=alt.Scale(domain=domain(own["comparable"].to_list())))
        shown = own["model"].unique(maintain_order=True).to_list()
        legend = alt.Legend(orient="bottom", columns=3, labelLimit=300, values=shown)
        color = alt.Color("model:N", title="model", legend=legend, scale=colours)
        lines = alt.Chart(best.sort("megabytes")).mark_line(opacity=0.7).encode(x=x, y=y, color=color)
        marks = alt.Chart(own).mark_circle(size=50).encode(x=x, y=y, color=color, tooltip=["model:N", "cell:N"])
        labels = (
            alt.Chart(labelled(best)).mark_text(align="left", dx=6, dy=-6, fontSize=9).encode(x=x, y=y, text="scheme")
        )
        made.append(alt.layer(lines, marks, labels).properties(width=WIDTH, height=HEIGHT, title=title))
    return made


def labelled(best: pl.DataFrame) -> pl.DataFrame:
    """The points of all frontiers whose labels do not run into another's, the largest first."""
    ordered = best.sort("megabytes", descending=True)
    places = list(zip(ordered["megabytes"].log().to_list(), ordered["comparable"].to_list(), strict=True))
    across, down = (max(axis) - min(axis) for axis in zip(*places, strict=True))
    kept: list[int] = []
    for index, (x, y) in enumerate(places):
        near = (abs(x - places[k][0]) < SPACE * across and abs(y - places[k][1]) < SPACE / 3 * down for k in kept)
        if not any(near):
            kept.append(index)
    return ordered[kept]


def domain(values: Sequence[float]) -> list[float]:
    """The ends of an axis: a twentieth beyond the values on either side, and never of no length."""
    low, high = min(values), max(values)
    margin = max((high - low) / 20, abs(high) / 100)
    return [low - margin, high + margin]


def svg(figure: alt.ConcatChart | alt.LayerChart, prefix: str) -> str:
    """A figure as inline SVG; ``prefix`` keeps its ids apart from those of other figures on the page."""
    text = vl_convert.vegalite_to_svg(figure.to_json())
    names = sorted(set(re.findall(r'\bid="([^"]+)"', text)), key=len, reverse=True)
    for name in names:
        text = text.replace(f'id="{name}"', f'id="{prefix}-{name}"').replace(f"url(#{name})", f"url(#{prefix}-{name})")
    return text


def write_figure(figure: alt.ConcatChart, stem: Path) -> None:
    """Write ``stem.svg`` and ``stem.png``."""
    for suffix, options in ((".svg", {}), (".png", {"scale_factor": 2})):
        with atomic(stem.with_suffix(suffix)) as temporary:
            figure.save(str(temporary), format=suffix[1:], **options)


def _padded(chart: alt.ConcatChart) -> alt.ConcatChart:
    """Room for the legend's title, which is wide."""
    padded = chart.properties(padding={"left": 5, "right": 20, "top": 5, "bottom": 5})
    padded = padded.configure(background="transparent").configure_view(stroke="#8884")
    return padded.configure_axis(gridColor="#8883", domainColor="#888", tickColor="#888")
