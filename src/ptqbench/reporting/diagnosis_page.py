"""The pages of the diagnosis: one for each cell, and one that compares any two."""

from __future__ import annotations

import json
import math
from typing import Any

import altair as alt
import polars as pl

from ptqbench.reporting.diagnosis import Diagnosis, ranked, summary
from ptqbench.reporting.figures import svg
from ptqbench.reporting.markup import document, escape, short, table
from ptqbench.reporting.names import COMPARISON, anchor
from ptqbench.reporting.script import SCRIPT
from ptqbench.reporting.style import STYLE

MEANINGS = (
    "Proxy loss: tr(ΔW H ΔWᵀ), the output error on the calibration tokens; against nearest: over that of plain nearest "
    "rounding. SNR: of the output. Entropy: of the codes, in bits. Levels: share of the grid's levels that occur in a "
    "group. Edges: share of codes at the grid's ends. Condition and rank: of H. Reach: mean over groups of the largest "
    "weight over their root mean square. Outliers: input channels over six times the median channel."
)


def page(one: Diagnosis) -> str:
    """A cell's page."""
    model, calibration, method, scheme = one.cell
    title = f"{method} {scheme} on {model}"
    points = "".join(f"<li>{escape(line)}</li>" for line in summary(one))
    body = [
        f'<p><a href="../index.html#{escape(anchor(one.cell))}">report</a> · '
        f'<a href="{COMPARISON}">compare two cells</a></p>',
        f"<h1>Why {escape(title)} scores as it does</h1><p class='soft'>calibrated on {escape(calibration)}</p>",
        f'<div class="answer"><ul>{points}</ul></div>',
        "<h2>Through depth</h2>",
        f'<figure><div class="panels">{svg(growth_figure(one), "growth")}{svg(restored_figure(one), "restored")}</div>',
        "<figcaption>KL to the float model on held-out text: with the first blocks quantized, the others float; and "
        "with every block quantized but one.</figcaption></figure>",
        f"<h2>Layers</h2><p class='soft'>{escape(MEANINGS)}</p>{layer_table(one)}",
        f"<h2>Transforms</h2>{transform_table(one)}",
    ]
    return document(title, "\n".join(body), STYLE, SCRIPT)


def growth_figure(one: Diagnosis) -> alt.LayerChart:
    """KL over the number of quantized blocks."""
    base = alt.Chart(one.growth).encode(
        x=alt.X("blocks:Q", title="quantized blocks", axis=alt.Axis(tickMinStep=1)), y=alt.Y("kl:Q", title="KL, nats")
    )
    return _plain(alt.layer(base.mark_line(), base.mark_circle(size=50)))


def restored_figure(one: Diagnosis) -> alt.LayerChart:
    """Share of the KL that each block gives back."""
    x = alt.X("block:O", title="block made float again", sort=None)
    y = alt.Y("share:Q", title="share of the KL that goes", axis=alt.Axis(format="%"))
    return _plain(alt.layer(alt.Chart(ranked(one)).mark_bar().encode(x=x, y=y)))


def layer_table(one: Diagnosis) -> str:
    """One row per linear."""
    shown = {
        "proxy loss": "proxy_loss",
        "SNR, dB": "snr_db",
        "entropy": "code_entropy",
        "levels": "levels_used",
        "edges": "edge_share",
        "condition": "condition",
        "rank": "effective_rank",
        "input kurtosis": "input_kurtosis",
        "tokens": "tokens",
    }
    columns = {"linear": [escape(name) for name in one.layers["linear"]]}
    columns["against nearest"] = [
        short(a / b, 3) if b else "" for a, b in one.layers.select("proxy_loss", "nearest_proxy_loss").rows()
    ]
    columns |= {title: [_number(value) for value in one.layers[name]] for title, name in shown.items()}
    return table(columns, "layers", stub="linear")


def transform_table(one: Diagnosis) -> str:
    """One row per linear, a group of columns per stage."""
    columns: dict[str, list[str]] = {}
    for stage in one.transforms["stage"].unique(maintain_order=True):
        own = one.transforms.filter(pl.col("stage") == stage)
        columns.setdefault("linear", [escape(name) for name in own["linear"]])
        after = "before" if stage == "none" else f"after {stage}"
        for name in ("weight_kurtosis", "weight_reach", "input_outliers", "input_largest"):
            columns[f"{name.replace('_', ' ')}, {after}"] = [_number(value) for value in own[name]]
    return table(columns, "transforms", stub="linear")


COMPARE = r"""
const cells = JSON.parse(document.getElementById('cells').textContent);
const pickers = ['a', 'b'].map(name => document.getElementById(name));
const text = value => value === null || value === undefined ? '' : Number(value.toPrecision(3)).toString();
function rows(table, first, second, keys) {
  const body = document.querySelector(`#${table} tbody`);
  body.replaceChildren(...Object.keys(first).filter(name => name in second).map(name => {
    const row = document.createElement('tr'), head = document.createElement('th');
    head.textContent = name; row.append(head);
    for (const key of keys) {
      const [a, b] = [first[name][key], second[name][key]];
      for (const value of [a, b, b - a]) {
        const cell = document.createElement('td'); cell.textContent = text(value); row.append(cell);
      }
    }
    return row;
  }));
}
function compare() {
  const [first, second] = pickers.map(picker => cells[picker.value]);
  rows('blocks', first.blocks, second.blocks, ['kl', 'share']);
  rows('linears', first.linears, second.linears, ['proxy', 'snr', 'entropy']);
}
for (const picker of pickers) picker.addEventListener('change', compare);
compare();
"""


def comparison(diagnoses: list[Diagnosis]) -> str:
    """A page that compares any two cells, block by block and linear by linear."""
    data = {one.cell.path: comparable(one) for one in diagnoses}
    names = list(data)
    pickers = ""
    for which, chosen in (("a", names[0]), ("b", names[-1])):
        options = "".join(
            f'<option value="{escape(name)}"{" selected" if name == chosen else ""}>{escape(name)}</option>'
            for name in names
        )
        pickers += f'<label>{which}<select id="{which}">{options}</select></label>'
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    body = (
        '<p><a href="../index.html">report</a></p><h1>Two cells compared</h1>'
        f"<form>{pickers}</form>"
        "<p class='soft'>Each measure for a, for b, and b less a (Δ). KL: with the blocks up to this one quantized; "
        "share: of the whole KL that goes when this block alone is float again.</p>"
        + _empty("blocks", ("block", *heads("KL", "share")))
        + _empty("linears", ("linear", *heads("proxy loss", "SNR, dB", "entropy")))
    )
    extra = f'<script type="application/json" id="cells">{text}</script>\n'
    return document("Two cells compared", body, STYLE, SCRIPT + COMPARE, extra)


def comparable(one: Diagnosis) -> dict[str, Any]:
    """What the comparison shows of a cell."""
    shares = dict(ranked(one).select("block", "share").rows())
    kls = dict(one.growth.rows())
    layers = one.layers.select("linear", "proxy_loss", "snr_db", "code_entropy").rows()
    return {
        "blocks": {f"block {block}": {"kl": kls[block + 1], "share": share} for block, share in sorted(shares.items())},
        "linears": {name: {"proxy": proxy, "snr": snr, "entropy": bits} for name, proxy, snr, bits in layers},
    }


def heads(*names: str) -> list[str]:
    """Three columns for each measure."""
    return [f"{name} {which}" for name in names for which in "abΔ"]


def _empty(name: str, titles: tuple[str, ...]) -> str:
    cells = "".join(f"<th>{escape(title)}</th>" for title in titles)
    inner = f"<thead><tr>{cells}</tr></thead><tbody></tbody>"
    return f'<div class="wide"><table id="{name}" class="gt_table">{inner}</table></div>'


def _plain(chart: alt.LayerChart) -> alt.LayerChart:
    sized = chart.properties(width=340, height=220).configure(background="transparent")
    return sized.configure_view(stroke="#8884").configure_axis(gridColor="#8883", domainColor="#888", tickColor="#888")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return "∞" if math.isinf(value) else short(value, 3)
