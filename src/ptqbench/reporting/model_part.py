"""One model's part of the page: its answer, one large figure, and the rest folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.cells_part import cost, provenance_section
from ptqbench.reporting.chart import chart, worth_drawing
from ptqbench.reporting.classes import mark
from ptqbench.reporting.kl import Divergence
from ptqbench.reporting.markup import escape, folded, identifier
from ptqbench.reporting.overview import answer, count, limits_table, section
from ptqbench.reporting.points import Point, kl_points, loss_points
from ptqbench.reporting.provenance import Origin
from ptqbench.reporting.quality import quality_table
from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation, Stderrs
from ptqbench.reporting.scores import kind
from ptqbench.reporting.taxonomy import taxonomy
from ptqbench.spec import FLOAT_METHOD

NARROW = {"width": 390.0, "height": 400.0}  # of the figure on a phone, whose text is not to shrink
LEGEND = (
    "Each entry is the score, then its difference to the float model ± the standard error of that difference "
    "(of the same windows or documents). * : the 95 % interval excludes no difference; one in twenty does so by "
    "chance. ◆ : best of its column; ≈ : cannot be told from it."
)
CLASSES = (
    "The least loss that a class reaches, beside classes that search the same range and are calibrated alike; a column "
    "has one granularity. ◆ : the best of several classes in its range and column. What the filters leave out is pale."
)
NOTES = (
    "Bits/weight are those of the quantized weights with their scales, bits/parameter those of the whole packed "
    "checkpoint, what stays in float included. Served are the weights as they are loaded: the cache of keys and values "
    "comes on top. MB: 10⁶ bytes, GB: 10⁹."
)
MADE = (
    "What each cell was made of, by which code, and the commands that make its results anew. A fallback is a layer "
    "that did not run as asked; served dense: no packed format holds the cell."
)


class Report(NamedTuple):
    """What the parts are drawn from."""

    tables: Mapping[str, pl.DataFrame]
    stderrs: Stderrs
    kls: Mapping[Cell, Divergence]
    kl_on: str
    origins: Mapping[Cell, Origin]
    pages: Mapping[Cell, str]


def model_part(
    model: str, own: list[Candidate], chosen: tuple[Constraints, Recommendation, str], report: Report, demo: bool
) -> str:
    """The section of a model."""
    cells = report.tables["cells"].filter(pl.col("model") == model)
    facts = f"{count(cells['n_parameters'][0] or 0)} parameters, {cells['structure'][0]}, {cells['dtype'][0]}"
    badge = ' <span class="badge">demonstration</span>' if demo else ""
    names = measured(report.tables["scores"], model)
    parts = [
        f"<h2 id='{section(model)}'>{escape(model)}{badge} <small>{escape(facts)}</small></h2>",
        f'<div class="answer" data-answer="{escape(model)}" aria-live="polite">{answer(own, *chosen)}</div>',
        figures(model, names, report),
    ]
    if names:
        parts.append(folded("Within 1, 2, 5, 10 and 20 %", limits_table(own, chosen[0], report.stderrs, model)))
    parts += [*evidence(model, names, report)]
    parts.append(folded("Bytes, seconds and speed", cost_part(model, cells, report)))
    every = report.tables.get("every_cell", report.tables["cells"]).filter(pl.col("model") == model)
    made = provenance_section(every, report.origins, report.pages)
    inner = f"<div class='cells'><p class='soft'>{MADE}</p>{made}</div>"
    parts.append(folded(f"{len(every)} cells, and how to reproduce them", inner))
    return f'<section data-model="{escape(model)}">{"".join(parts)}</section>'


def evidence(model: str, names: Sequence[str], report: Report) -> Iterator[str]:
    """Every score by method and scheme, then by class."""
    scores, cells = report.tables["scores"], report.tables["cells"]
    if not names:
        return
    inner = "".join(quality_table(scores, cells, model, score, report.stderrs) for score in names)
    yield folded("Methods by bits", f"<p class='soft'>{LEGEND}</p>{inner}")
    lost = [score for score in names if kind(score) != "divergence"]
    inner = "".join(f"<h4>{escape(score)}</h4>{taxonomy(scores, cells, model, score)}" for score in lost)
    yield folded("Classes of methods", f"<p class='soft'>{CLASSES}</p>{inner}")


def cost_part(model: str, cells: pl.DataFrame, report: Report) -> str:
    """The table of costs, with what its columns are."""
    return f"<p class='soft'>{NOTES}</p>{cost(cells, report.tables['results'], f'costs-{identifier(model)}')}"


def figures(model: str, names: Sequence[str], report: Report) -> str:
    """The figure of the divergence or else of the first score; those of the others folded."""
    scores, cells = report.tables["scores"], report.tables["cells"]
    drawn = [(f"KL to the float model, nats, {report.kl_on}", kl_points(report.kls, cells, model), False)]
    drawn += [(f"loss of {name}", loss_points(scores, cells, model, name), True) for name in names]
    drawn = [one for one in drawn if worth_drawing(one[1])]
    if not drawn:
        return ""
    rest = "".join(figure(*one) for one in drawn[1:])
    others = f"{len(drawn) - 1} other scores" if len(drawn) > 2 else "".join(one[0] for one in drawn[1:])
    more = folded(f"The same for {others}", rest) if rest else ""
    return figure(*drawn[0]) + more


def figure(title: str, points: list[Point], relative: bool) -> str:
    """A figure for wide screens and paper, and one for phones, with one legend."""
    wide = chart(points, relative, title)
    narrow = chart(points, relative, title, **NARROW).replace('class="chart"', 'class="chart narrow"', 1)
    return (
        f"<figure><figcaption><strong>{escape(title)}</strong>, lower is better, against bytes. Bars: 95 %. Line: what "
        f"no other cell beats in both. Point at a mark for its cell; a click leads to it.</figcaption>{wide}{narrow}"
        f'<p class="legend">{legend(points)}</p></figure>'
    )


def legend(points: Sequence[Point]) -> str:
    """The classes that are drawn, each with its mark."""
    looks = sorted({point.look for point in points if not point.is_float})
    parts = [f"<span>{_sample(mark(one, 8, 8))}{escape(one.name)}</span>" for one in looks]
    if any(point.dense for point in points):
        hollow = mark(looks[0], 8, 8, hollow=True).replace(looks[0].colour, "currentColor")
        parts.append(f"<span>{_sample(hollow)}hollow: served dense</span>")
    return "".join(parts)


def measured(scores: pl.DataFrame, model: str) -> tuple[str, ...]:
    """The scores of a model's quantized cells."""
    own = scores.filter(pl.col("model") == model, pl.col("method") != FLOAT_METHOD)
    return tuple(own["score"].unique(maintain_order=True))


def _sample(drawn: str) -> str:
    return f'<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{drawn}</svg>'
