"""``index.html``: one file, offline. The answer first, then its evidence, then what made every number."""

from __future__ import annotations

from typing import Any

import polars as pl

from ptqbench.reporting.family import families
from ptqbench.reporting.figures import all_models, panels, svg
from ptqbench.reporting.headline import unscored
from ptqbench.reporting.markup import document, escape
from ptqbench.reporting.recommend import candidates
from ptqbench.reporting.scores import CellKey, kind
from ptqbench.reporting.script import SCRIPT
from ptqbench.reporting.sections import (
    answer_section,
    cost,
    family_section,
    payload,
    provenance_section,
    quality_table,
    recommendation_form,
    taxonomy,
)
from ptqbench.reporting.style import STYLE
from ptqbench.spec import FLOAT_METHOD

LEGEND = (
    "Each entry is the score, then its difference to the float model ± the standard error of that difference "
    "(of the same windows or documents). * : the 95 % interval excludes no difference; one in twenty does so by "
    "chance. ◆ : best of its column; ≈ : cannot be told from it."
)
NOTES = (
    "Perplexity is exp of the mean loss over the windows of a text, whose length in tokens is behind the @: other "
    "windows are another score. An accuracy is the mean over the tasks of a suite. A KL is how far a cell's "
    "predictions are from the float model's, in nats a token (kl≥: at least). A loss is relative to the float "
    "model, and a KL is none. "
    "Sizes are those of the weights: the cache of keys and values comes on top. Bits/weight are those of the "
    "quantized weights, bits/parameter those of the whole packed checkpoint, what stays in float included. A fallback "
    "is a layer that did not run as asked; served dense: no packed format holds the cell. The data lie beside this "
    "page as parquet and CSV (results, cells, layers, items, scores, pairs), the figures as SVG and PNG."
)

CLASSES = (
    "The least loss that a class reaches, beside classes that search the same range and are calibrated alike; a column "
    "has one granularity. ◆ : the best of several classes in its range and column."
)
FRONTIER = "The line is the frontier, the dashed rule the float model. Point at a mark for its cell."
FAMILY = (
    "Is a larger model at fewer bits better than a smaller one at more? Each line is one model's frontier, over the "
    "bytes of the packed checkpoint. The tables take every cell on the smaller model's frontier, and the best of the "
    "larger one that needs no more bytes; ≈ : the 95 % interval includes no difference."
)


def page(tables: dict[str, pl.DataFrame], origins: dict[CellKey, dict[str, Any]], pages: dict[CellKey, str]) -> str:
    """The page. ``tables``: results, cells, scores, pairs; ``pages``: addresses of the diagnoses that there are."""
    results, cells, scores = tables["results"], tables["cells"], tables["scores"]
    stderrs = {row[:3]: row[3] for row in tables["pairs"].select("score", "a", "b", "stderr").rows()}
    models = cells["model"].unique(maintain_order=True).to_list()
    names = scores["score"].unique(maintain_order=True).to_list()
    found = candidates(cells, scores, results)
    body = [
        f"<h1>Post-training quantization: what to deploy</h1><p>{escape(headline(results))}</p>",
        _navigation(models, cells),
    ]
    body += ["<h2 id='answer'>The answer</h2>"]
    own = {model: _measured(scores, model) for model in models}
    body += [_part(model, answer_section(model, found, tuple(names), stderrs)) for model in models if own[model]]
    body += ["<h3>Your constraints</h3>", recommendation_form(names)] if names else []
    body.append(f"<h2 id='figures'>Size against quality</h2><p class='soft'>{FRONTIER}</p>")
    drawn = [_figure(scores, cells, model, number) for number, model in enumerate(models) if own[model]]
    body.append(f"<div class='flow'>{''.join(drawn)}</div>")
    body.append(f"<h2 id='tables'>Methods and bit-widths</h2><p class='soft'>{LEGEND}</p>")
    if missing := unscored(results):
        body.append(
            f"<p class='soft'>Without a score, as none of their metrics is one: {escape(', '.join(missing))}.</p>"
        )
    for model in models:
        inner = "".join(quality_table(scores, model, score, stderrs) for score in own[model])
        body.append(_part(model, f"<h3>{escape(model)}</h3>{inner}" if len(models) > 1 else inner))
    body.append(f"<h2 id='taxonomy'>Classes of methods</h2><p class='soft'>{CLASSES}</p>")
    structures = dict(cells.select("model", "structure").rows())
    for model in (model for model in models if own[model]):
        lost = [name for name in own[model] if kind(name) != "divergence"]
        inner = "".join(f"<h4>{escape(name)}</h4>{taxonomy(scores, cells, model, name)}" for name in lost)
        body.append(_part(model, f"<h3>{escape(model)} ({escape(structures[model])})</h3>{inner}"))
    related = families(cells)
    if cells["family"].n_unique() > 1:
        figure = svg(all_models(scores, cells), "across")
        body.append(f"<h2 id='across'>Across models</h2><figure>{figure}<figcaption>Bytes against what is comparable "
                    "over models; the lines are frontiers.</figcaption></figure>")  # fmt: skip
    if related:
        body.append(f"<h2 id='family'>Sizes of one family</h2><p class='soft'>{FAMILY}</p>")
    for number, (name, members) in enumerate(related.items()):
        told = family_section(members, scores, cells, stderrs, f"family{number}")
        body.append(f"<h3>{escape(name)}</h3>{told}")
    body += ["<h2 id='cost'>Cost</h2>", cost(cells, results)]
    body += [f"<h2 id='cells'>Cells, and how to reproduce them</h2><p class='soft'>{NOTES}</p>"]
    body += [provenance_section(cells, origins, pages)]
    return document("ptqbench report", "\n".join(body), STYLE, SCRIPT, payload(found, names, stderrs))


def headline(results: pl.DataFrame) -> str:
    """What was compared, in one sentence."""
    compared = results.filter(pl.col("method") != FLOAT_METHOD)
    counts = [_count(compared[key].n_unique(), key) for key in ("model", "method", "scheme")]
    return f"{', '.join(counts)}, against the unquantized model."


def _navigation(models: list[str], cells: pl.DataFrame) -> str:
    places = {"answer": "Answer", "figures": "Size and quality", "tables": "Tables", "taxonomy": "Classes"}
    places |= {"across": "Across models"} if cells["family"].n_unique() > 1 else {}
    places |= {"family": "Sizes of one family"} if families(cells) else {}
    places |= {"cost": "Cost", "cells": "Cells"}
    links = "".join(f'<a href="#{place}">{name}</a>' for place, name in places.items())
    options = "".join(f'<option value="{escape(model)}">{escape(model)}</option>' for model in models)
    chooser = f'<label>model<select id="model-filter"><option value="">all</option>{options}</select></label>'
    return f'<nav>{links}</nav><form class="screen">{chooser}</form>'


def _figure(scores: pl.DataFrame, cells: pl.DataFrame, model: str, number: int) -> str:
    drawn = [svg(chart, f"size{number}-{i}") for i, chart in enumerate(panels(scores, cells, model))]
    drawing = f'<div class="panels">{"".join(drawn)}</div>'
    return _part(model, f"<figure>{drawing}<figcaption>{escape(model)}</figcaption></figure>")


def _part(model: str, inner: str) -> str:
    return f'<section data-model="{escape(model)}">{inner}</section>'


def _measured(scores: pl.DataFrame, model: str) -> tuple[str, ...]:
    own = scores.filter(pl.col("model") == model, pl.col("method") != FLOAT_METHOD)
    return tuple(own["score"].unique(maintain_order=True))


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
