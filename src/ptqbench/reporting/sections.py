"""The sections of the page, as markup."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import polars as pl

from ptqbench.reporting.answer import doubts, facts, left_out, reason, size
from ptqbench.reporting.family import Duel, duels, verdict
from ptqbench.reporting.figures import family_figure, svg
from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.markup import definitions, escape, short, table
from ptqbench.reporting.names import anchor
from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation, recommend
from ptqbench.reporting.scores import CellKey, better_when_lower, cell_of, over_models
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

LIMITS = (0.01, 0.02, 0.05, 0.10, 0.20)

Stderrs = dict[tuple[str, str, str], float]


def cell_link(cell: CellKey, text: str) -> str:
    """A link to a cell's provenance; ``text`` is escaped here."""
    return f'<a href="#{escape(anchor(cell))}">{escape(text)}</a>'


def answer_section(model: str, cells: list[Candidate], scores: tuple[str, ...], stderrs: Stderrs) -> str:
    """The smallest cell of a model that loses at most so much, for a few limits; the first quantized one leads."""
    own = [cell for cell in cells if cell.model == model]
    asked = [Constraints(scores, max_drop=limit, prefer="size", named=False) for limit in LIMITS]
    found = [(limits, recommend(own, limits, stderrs)) for limits in asked]
    said = f"<h3>{escape(model)}</h3>"
    left = "".join(f'<p class="soft">{escape(line)}</p>' for line in left_out(found[0][1]))
    first = next(((limits, one) for limits, one in found if one.best is not None and not one.best.is_float), None)
    if first is None:
        line = (
            f"No quantized cell that is smaller is sure to lose at most {LIMITS[-1]:.0%}: keep the unquantized model."
        )
        return f'{said}<div class="answer"><p>{line}</p>{left}</div>' + limits_table(found, f"limits-{_id(model)}")
    limits, one = first
    best = one.best
    assert best is not None
    assert limits.max_drop is not None
    lines = "".join(f"<li>{escape(line)}</li>" for line in doubts(one, limits))
    serve = f"<pre>{escape(best.serve)}</pre>" if best.serve else ""
    return (
        f'{said}<div class="answer"><p class="deploy">Deploy {_link(best)}: the smallest cell that loses at most '
        f"{limits.max_drop:.0%} on every score that counts.</p><p>{escape(facts(best, one.scores))}</p>"
        f"<ul>{lines}</ul>{serve}{left}</div>" + limits_table(found, f"limits-{_id(model)}")
    )


def limits_table(found: list[tuple[Constraints, Recommendation]], name: str) -> str:
    """One row per limit."""
    rows: list[tuple[str, str, str, str]] = []
    for limits, one in found:
        if (best := one.best) is None:
            why = [reason(one.miss, name, limits) for name in one.violations] if one.miss else []
            rows.append((f"{limits.max_drop:.0%}", "none", "", escape("; ".join(why))))
        else:
            said = facts(best, one.scores).removeprefix(size(best.bytes)).removeprefix(", ")
            rows.append((f"{limits.max_drop:.0%}", _link(best), size(best.bytes), escape(said)))
    titles = ("at most lost", "smallest", "weights", "how it scores")
    return table(dict(zip(titles, map(list, zip(*rows, strict=True)), strict=True)), name)


def recommendation_form(scores: Sequence[str]) -> str:
    """What the script answers; without a script the command line does the same."""
    options = "".join(f'<option value="{escape(score)}">{escape(score)}</option>' for score in scores)
    return f"""<form id="recommend" class="screen">
<label>memory for the weights<input name="memory" placeholder="24GB"></label>
<label>at most lost<input name="max_drop" placeholder="1%" value="5%"></label>
<label>tokens per second<input name="tokens_per_second" inputmode="decimal" placeholder="any"></label>
<label>score<select name="task"><option value="">all</option>{options}</select></label>
<label>prefer<select name="prefer"><option>quality</option><option selected>size</option><option>speed</option></select>
</label></form><div id="recommended" class="answer screen" aria-live="polite"></div>
<p class="soft">The same from a terminal: <code>PYTHONPATH=src python -m ptqbench recommend --memory 24GB
--max-drop 1%</code></p>"""


def quality_table(scores: pl.DataFrame, model: str, score: str, stderrs: Stderrs) -> str:
    """Method by scheme: the score, its difference to the float model and what is significant."""
    own = scores.filter(pl.col("model") == model, pl.col("score") == score)
    rows = [row for row in own.iter_rows(named=True) if row["method"] != FLOAT_METHOD]
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    several = own.filter(pl.col("method") != FLOAT_METHOD)["calibration"].n_unique() > 1
    names = list(dict.fromkeys((row["method"], row["calibration"]) for row in rows))
    by = {(row["method"], row["calibration"], row["scheme"]): row for row in rows}
    columns = {"method": [escape(f"{method}, {cal}" if several else method) for method, cal in names]}
    for scheme in schemes:
        found = [by.get((*name, scheme)) for name in names]
        columns[scheme] = column(found, score, stderrs)
    base = own.filter(pl.col("method") == FLOAT_METHOD)
    said = ""
    if len(base):
        value, stderr = base.select("value", "stderr").row(0)
        said = f" The float model has {short(value, 4)} ± {short(stderr, 2)}."
    better = "Lower" if better_when_lower(score) else "Higher"
    title = f"<h3>{escape(score)}</h3><p class='soft'>{better} is better.{said}</p>"
    return title + table(columns, f"quality-{_id(model)}-{_id(score)}", stub="method")


def column(rows: Sequence[dict[str, Any] | None], score: str, stderrs: Stderrs) -> list[str]:
    """One scheme's cells; ``◆`` is the best and ``≈`` what cannot be told from it."""
    sign = 1 if better_when_lower(score) else -1
    present = [row for row in rows if row is not None]
    best = min(present, key=lambda row: sign * row["comparable"])
    texts = []
    for row in rows:
        if row is None:
            texts.append("")
            continue
        mark = ""
        if len(present) == 1:
            pass
        elif row is best:
            mark = " ◆"
        elif abs(row["comparable"] - best["comparable"]) <= NORMAL * _pair(stderrs, score, row, best):
            mark = " ≈"
        texts.append(cell_link(cell_of(row), short(row["value"], 4)) + delta(row, sign) + mark)
    return texts


def delta(row: dict[str, Any], sign: int) -> str:
    """The difference to the float model with its standard error; ``*`` where the interval excludes zero."""
    if row["delta"] is None:
        return ""
    worse = sign * row["delta"] > 0
    kind = ("worse" if worse else "better") if row["significant"] else "delta"
    mark = "*" if row["significant"] else ""
    return f' <span class="{kind}">{short(row["delta"], 3, sign=True)} ± {short(row["delta_stderr"], 2)}{mark}</span>'


def taxonomy(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str) -> str:
    """The least loss of a model that a class reaches, beside others of the same range and propagation (rows), bit-width
    and granularity (columns); ``◆`` is the best of them.

    Of mixed cells, those whose bits per weight round alike are of one width.
    """
    width = pl.coalesce(pl.col("bits").cast(pl.Float64), pl.col("bits_per_weight").round(1))
    named = pl.col("strategy").list.join(" + ").replace("", "none (nearest rounding)")
    data = _where(scores, model=model, score=score)
    data = data.filter(pl.col("method") != FLOAT_METHOD, pl.col("drop").is_not_null())
    own = cells.select(*KEY, "bits", "group_size", "range", "propagate", width=width, strategy=named)
    data = data.join(own, on=KEY, maintain_order="left").with_columns(pl.col("range").fill_null("unknown"))
    places = data.select("width", "group_size", mixed=pl.col("bits").is_null()).unique()
    places = places.sort("width", "group_size", "mixed", descending=[True, True, False])
    settings = data.select("range", "propagate").unique(maintain_order=True).rows()
    rows = [
        (name, *setting)
        for setting in settings
        for name in _where(data, range=setting[0], propagate=setting[1])["strategy"].unique(maintain_order=True)
    ]
    columns: dict[str, list[str]] = {"class": [escape(name) for name, _, _ in rows]}
    columns["range"] = [escape(name) for _, name, _ in rows]
    columns["propagated"] = ["yes" if propagate else "" for _, _, propagate in rows]
    for bits, group, mixed in places.rows():
        here = _where(data, width=bits, group_size=group)
        here = here.filter(pl.col("bits").is_null().eq(mixed)).sort("drop", maintain_order=True)
        best = [_where(here, strategy=name, range=own, propagate=behind) for name, own, behind in rows]
        leads = [
            _leads(one, _where(here, range=own, propagate=behind))
            for one, (_, own, behind) in zip(best, rows, strict=True)
        ]
        width_of = f"mixed, {bits:g} bits per weight" if mixed else f"{bits:g} bits"
        title = f"{width_of}, {f'groups of {group}' if group > 0 else 'per channel'}"
        columns[title] = [_best(one) + (" ◆" if leads else "") for one, leads in zip(best, leads, strict=True)]
    return table(columns, f"taxonomy-{_id(model)}-{_id(score)}", stub="class")


def family_section(models: list[str], scores: pl.DataFrame, cells: pl.DataFrame, stderrs: Stderrs, name: str) -> str:
    """For each score every pair of a family's models, the larger at fewer bits against the smaller at more."""
    parts = []
    for score in over_models(scores).filter(pl.col("model").is_in(models))["score"].unique(maintain_order=True):
        measured = set(scores.filter(pl.col("score") == score)["model"])
        both = [model for model in models if model in measured]
        if len(both) < 2:
            continue
        identity = f"{name}-{_id(score)}"
        parts.append(
            f"<h4>{escape(score)}</h4><figure>{svg(family_figure(scores, cells, both, score), identity)}</figure>"
        )
        for number, (larger, smaller) in enumerate(combinations(both, 2)):
            found = duels(scores, cells, larger, smaller, score, stderrs)
            parts.append(f"<p>{escape(verdict(larger, smaller, found))}</p>")
            parts.append(duel_table(larger, smaller, found, score, f"{identity}-{number}"))
    return "".join(parts)


def duel_table(larger: str, smaller: str, found: list[Duel], score: str, name: str) -> str:
    """One row for each size of the smaller model that is worth having."""
    unit = "bits per byte" if better_when_lower(score) else "points"
    columns: dict[str, list[str]] = {"within": [], smaller: [], larger: [], f"better by, {unit}": []}
    for duel in found:
        columns["within"].append(size(duel.bytes))
        columns[smaller].append(cell_link(duel.smaller, " ".join(duel.smaller[2:])))
        if duel.larger is None:
            columns[larger].append("none is so small")
            columns[f"better by, {unit}"].append("")
            continue
        columns[larger].append(cell_link(duel.larger, " ".join(duel.larger[2:])))
        numbers = f"{short(abs(duel.lead), 3)} ± {short(duel.stderr, 2)}"
        told = larger if duel.lead > 0 else smaller
        columns[f"better by, {unit}"].append(escape(f"{told}: {numbers}" if duel.significant else f"≈ {numbers}"))
    return table(columns, f"duels-{name}")


def cost(cells: pl.DataFrame, results: pl.DataFrame) -> str:
    """Seconds, memory, bytes and speed of every cell."""
    wanted = pl.col("metric").is_in(["tokens_per_second", "first_token_seconds"])
    rates = results.filter(wanted | pl.col("metric").str.ends_with("_gib"))
    columns: dict[str, list[str]] = {
        title: []
        for title in (
            "cell",
            "quantize, s",
            "peak memory, MB",
            "packed, MB",
            "served, MB",
            "bits/weight",
            "bits/parameter",
            "added by a transform, MB",
        )
    }
    extra = rates.select("task", "metric").unique(maintain_order=True).rows()
    for row in cells.iter_rows(named=True):
        key = cell_of(row)
        values = (row["quantize_seconds"], _mega(row["peak_memory_bytes"]), _mega(row["checkpoint_bytes"]))
        numbers = [*values, _mega(row["served_bytes"]), row["bits_per_weight"], row["checkpoint_bits_per_parameter"]]
        numbers.append(_mega(row["added_bytes"]) or None)
        columns["cell"].append(cell_link(key, f"{row['model']} {row['method']} {row['scheme']}"))
        for title, value in zip(list(columns)[1:8], numbers, strict=True):
            columns[title].append("" if value is None else short(value, 4))
        for task, metric in extra:
            where = [pl.col(name) == value for name, value in zip(KEY, key, strict=True)]
            own = rates.filter(*where, pl.col("task") == task, pl.col("metric") == metric)["value"]
            columns.setdefault(f"{metric.replace('_', ' ')}, {task}", []).append(short(own[0], 4) if len(own) else "")
    return table(columns, "costs")


def provenance_section(cells: pl.DataFrame, origins: dict[CellKey, dict[str, Any]], pages: dict[CellKey, str]) -> str:
    """One folded entry per cell: what it is, what made it, what fell back, and the commands that do it again."""
    parts = []
    for row in cells.iter_rows(named=True):
        cell = cell_of(row)
        origin = origins.get(cell)
        told = {
            "format": escape(row["format"]),
            "checkpoint": f"<code>{escape(row['checkpoint'])}</code>",
            "model's dtype": escape(row["dtype"]),
            "served dense": escape(row["dense"] or ("as asked" if row["format"] == "dense" else "no")),
            "fallbacks": escape("; ".join(row["fallbacks"]) or "none"),
        }
        if origin is not None:
            told["made by code"] = f"<code>{escape(origin['code'])}</code>, {escape(_versions(origin['versions']))}"
            told["configuration"] = f"<code>{escape(json.dumps(origin['spec'], sort_keys=True))}</code>"
        if cell in pages:
            told["diagnosis"] = f'<a class="diagnosis" href="{escape(pages[cell])}">why it scores as it does</a>'
        evaluations = "".join(_evaluation(one) for one in (origin or {}).get("evaluations", []))
        title = (
            escape(f"{row['model']} · {row['method']} · {row['scheme']}") + f' <span class="soft">{_flags(row)}</span>'
        )
        parts.append(
            f'<details id="{escape(anchor(cell))}" data-model="{escape(row["model"])}">'
            f"<summary>{title}</summary>{definitions(told)}{evaluations}</details>"
        )
    return "".join(parts)


def payload(cells: list[Candidate], scores: Sequence[str], stderrs: Stderrs) -> str:
    """The data of the script: candidates, and standard errors of differences by score and the two cells' numbers.

    JSON has no infinity: null stands for it, where a single window leaves everything open.
    """
    index = {cell.id: number for number, cell in enumerate(cells)}
    pairs: dict[str, dict[str, float | None]] = {score: {} for score in scores}
    for (score, a, b), stderr in stderrs.items():
        if a in index and b in index and cells[index[a]].model == cells[index[b]].model:
            first, second = sorted((index[a], index[b]))
            pairs[score][f"{first},{second}"] = _finite(stderr)
    rows = [
        {
            "id": cell.id,
            "anchor": anchor(cell.key),
            "model": cell.model,
            "float": cell.is_float,
            "bytes": cell.bytes,
            "tokens_per_second": cell.tokens_per_second,
            "comparable": cell.comparable,
            "drop": {score: [drop, _finite(high)] for score, (drop, high) in cell.drop.items()},
            "caveats": cell.caveats,
            "serve": cell.serve,
        }
        for cell in cells
    ]
    text = json.dumps({"cells": rows, "scores": list(scores), "stderrs": pairs}, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="data">{text.replace("<", chr(92) + "u003c")}</script>\n'


def _evaluation(one: dict[str, Any]) -> str:
    told = f"{one['suite']}: {one['backend']} on {one['device']}, code {one['code']}, {_versions(one['versions'])}"
    return f"<p class='soft'>{escape(told)}</p><pre>{escape(one['command'])}</pre>"


def _flags(row: dict[str, Any]) -> str:
    layers = len(row["fallbacks"])
    said = [f"{layers} fallback{'s' if layers > 1 else ''}"] if layers else []
    return escape(", ".join(said + (["served dense"] if row["format"] == "dense" else [])))


def _where(data: pl.DataFrame, **values: object) -> pl.DataFrame:
    return data.filter(*(pl.col(name).eq(value) for name, value in values.items()))


def _leads(own: pl.DataFrame, all_: pl.DataFrame) -> bool:
    """Whether the best of a class is the best of several classes."""
    return len(own) > 0 and all_["strategy"].n_unique() > 1 and bool(own["drop"].min() == all_["drop"].min())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _best(sorted_rows: pl.DataFrame) -> str:
    if not len(sorted_rows):
        return ""
    row = sorted_rows.row(0, named=True)
    return f"{short(100 * row['drop'], 3, sign=True)} ± {short(100 * row['drop_stderr'], 2)} % " + cell_link(
        cell_of(row), row["method"]
    )


def _link(cell: Candidate) -> str:
    return cell_link(cell.key, "the unquantized model" if cell.is_float else f"{cell.key[2]} {cell.key[3]}")


def _pair(stderrs: Stderrs, score: str, a: dict[str, Any], b: dict[str, Any]) -> float:
    one, two = ("/".join(cell_of(row)) for row in (a, b))
    return stderrs[score, one, two] if (score, one, two) in stderrs else stderrs[score, two, one]


def _versions(versions: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (versions or {}).items())


def _mega(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else n_bytes / 1e6


def _id(name: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else f"-{ord(sign):x}-" for sign in name)
