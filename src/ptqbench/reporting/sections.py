"""The sections of the page, as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import polars as pl

from ptqbench.reporting.answer import doubts, facts, reason, size
from ptqbench.reporting.family import Duel, duels, verdict
from ptqbench.reporting.figures import family_figure, svg
from ptqbench.reporting.markup import definitions, escape, short, table
from ptqbench.reporting.names import anchor
from ptqbench.reporting.recommend import Candidate, Constraints, recommend
from ptqbench.reporting.scores import NORMAL, CellKey, better_when_lower
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD

LIMITS = (0.01, 0.02, 0.05, 0.10, 0.20)

Stderrs = dict[tuple[str, str, str], float]


def key_of(row: dict[str, Any]) -> CellKey:
    """The cell of a table's row."""
    return row["model"], row["calibration"], row["method"], row["scheme"]


def cell_link(cell: CellKey, text: str) -> str:
    """A link to a cell's provenance; ``text`` is escaped here."""
    return f'<a href="#{escape(anchor(cell))}">{escape(text)}</a>'


def answer_section(model: str, cells: list[Candidate], scores: tuple[str, ...], stderrs: Stderrs) -> str:
    """The smallest cell of a model that loses at most so much, for a few limits; the first that holds leads."""
    own = [cell for cell in cells if cell.model == model]
    asked = [Constraints(scores, max_drop=limit, prefer="size") for limit in LIMITS]
    found = [(limits, recommend(own, limits, stderrs)) for limits in asked]
    said = f"<h3>{escape(model)}</h3>"
    first = next(((limits, one) for limits, one in found if one.best is not None), None)
    if first is None:
        limits, one = found[-1]
        nearest = f"; the nearest is {escape(one.miss.id)} ({escape(facts(one.miss, scores))})" if one.miss else ""
        return f'{said}<div class="answer"><p>No cell loses less than {LIMITS[-1]:.0%}{nearest}.</p></div>'
    limits, one = first
    best = one.best
    assert best is not None
    assert limits.max_drop is not None
    lines = "".join(f"<li>{escape(line)}</li>" for line in doubts(one, limits))
    serve = f"<pre>{escape(best.serve)}</pre>" if best.serve else ""
    return (
        f'{said}<div class="answer"><p class="deploy">Deploy {_link(best)}: the smallest cell that loses at most '
        f"{limits.max_drop:.0%} on every score.</p><p>{escape(facts(best, scores))}</p><ul>{lines}</ul>{serve}</div>"
        + limits_table(found, f"limits-{_id(model)}")
    )


def limits_table(found: list[tuple[Constraints, Any]], name: str) -> str:
    """One row per limit."""
    rows: list[tuple[str, str, str, str]] = []
    for limits, one in found:
        if (best := one.best) is None:
            why = [reason(one.miss, name, limits) for name in one.violations] if one.miss else []
            rows.append((f"{limits.max_drop:.0%}", "none", "", escape("; ".join(why))))
        else:
            said = facts(best, limits.scores).removeprefix(f"{size(best.bytes)}, ")
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
        texts.append(cell_link(key_of(row), short(row["value"], 4)) + delta(row, sign) + mark)
    return texts


def delta(row: dict[str, Any], sign: int) -> str:
    """The difference to the float model with its standard error; ``*`` where the interval excludes zero."""
    if row["delta"] is None:
        return ""
    worse = sign * row["delta"] > 0
    kind = ("worse" if worse else "better") if row["significant"] else "delta"
    mark = "*" if row["significant"] else ""
    return f' <span class="{kind}">{short(row["delta"], 3, sign=True)} ± {short(row["delta_stderr"], 2)}{mark}</span>'


def taxonomy(scores: pl.DataFrame, cells: pl.DataFrame, score: str) -> str:
    """Class by structure and bit-width: the least relative loss that any cell of the class reaches.

    Of mixed cells, those whose bits per weight round alike are of one width.
    """
    width = pl.coalesce(pl.col("bits").cast(pl.Float64), pl.col("bits_per_weight").round(1))
    named = pl.col("strategy").list.join(" + ").replace("", "none (nearest rounding)")
    data = scores.filter(pl.col("score") == score, pl.col("method") != FLOAT_METHOD, pl.col("drop").is_not_null())
    data = data.join(
        cells.select(*KEY, "bits", "structure", width=width, strategy=named), on=KEY, maintain_order="left"
    )
    places = data.select("structure", "width", mixed=pl.col("bits").is_null()).unique()
    places = places.sort("structure", "width", descending=[False, True])
    classes = data["strategy"].unique(maintain_order=True).to_list()
    columns: dict[str, list[str]] = {"class": [escape(name) for name in classes]}
    for structure, bits, mixed in places.rows():
        texts = []
        for name in classes:
            place = pl.col("structure").eq(structure) & pl.col("width").eq(bits) & pl.col("bits").is_null().eq(mixed)
            here = data.filter(place, pl.col("strategy") == name)
            texts.append(_best(here.sort("drop")))
        columns[f"{structure}, {f'mixed, {bits:g} bits per weight' if mixed else f'{bits:g} bits'}"] = texts
    return table(columns, f"taxonomy-{_id(score)}", stub="class")


def family_section(models: list[str], scores: pl.DataFrame, cells: pl.DataFrame, stderrs: Stderrs, name: str) -> str:
    """For each score every pair of a family's models, the larger at fewer bits against the smaller at more."""
    parts = []
    for score in scores.filter(pl.col("model").is_in(models))["score"].unique(maintain_order=True):
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
        title: [] for title in ("cell", "quantize, s", "peak memory, MB", "packed, MB", "served, MB", "bits/weight")
    }
    extra = rates.select("task", "metric").unique(maintain_order=True).rows()
    for row in cells.iter_rows(named=True):
        key = key_of(row)
        values = (row["quantize_seconds"], _mega(row["peak_memory_bytes"]), _mega(row["checkpoint_bytes"]))
        numbers = [*values, _mega(row["served_bytes"]), row["bits_per_weight"]]
        columns["cell"].append(cell_link(key, f"{row['model']} {row['method']} {row['scheme']}"))
        for title, value in zip(list(columns)[1:6], numbers, strict=True):
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
        cell = key_of(row)
        origin = origins[cell]
        facts = {
            "format": escape(row["format"]),
            "checkpoint": f"<code>{escape(row['checkpoint'])}</code>",
            "made by code": f"<code>{escape(origin['code'])}</code>, {escape(_versions(origin['versions']))}",
            "fallbacks": escape("; ".join(row["fallbacks"]) or "none"),
            "configuration": f"<code>{escape(json.dumps(origin['spec'], sort_keys=True))}</code>",
        }
        if cell in pages:
            facts["diagnosis"] = f'<a class="diagnosis" href="{escape(pages[cell])}">why it scores as it does</a>'
        evaluations = "".join(_evaluation(one) for one in origin["evaluations"])
        title = (
            escape(f"{row['model']} · {row['method']} · {row['scheme']}") + f' <span class="soft">{_flags(row)}</span>'
        )
        parts.append(
            f'<details id="{escape(anchor(cell))}" data-model="{escape(row["model"])}">'
            f"<summary>{title}</summary>{definitions(facts)}{evaluations}</details>"
        )
    return "".join(parts)


def payload(cells: list[Candidate], scores: Sequence[str], stderrs: Stderrs) -> str:
    """The data of the script: candidates, and standard errors of differences by score and the two cells' numbers."""
    index = {cell.id: number for number, cell in enumerate(cells)}
    pairs: dict[str, dict[str, float]] = {score: {} for score in scores}
    for (score, a, b), stderr in stderrs.items():
        if a in index and b in index:
            first, second = sorted((index[a], index[b]))
            pairs[score][f"{first},{second}"] = float(f"{stderr:.4g}")
    rows = [
        {
            "id": cell.id,
            "anchor": anchor(cell.key),
            "model": cell.model,
            "bytes": cell.bytes,
            "tokens_per_second": cell.tokens_per_second,
            "comparable": cell.comparable,
            "drop": cell.drop,
            "expected": cell.expected,
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
    dense = any(line.startswith("served dense") for line in row["fallbacks"])
    layers = len(row["fallbacks"]) - dense
    said = [f"{layers} fallbacks"] if layers else []
    return escape(", ".join(said + (["served dense"] if dense else [])))


def _best(sorted_rows: pl.DataFrame) -> str:
    if not len(sorted_rows):
        return ""
    row = sorted_rows.row(0, named=True)
    return f"{short(100 * row['drop'], 3, sign=True)} ± {short(100 * row['drop_stderr'], 2)} % " + cell_link(
        key_of(row), row["method"]
    )


def _link(cell: Candidate) -> str:
    return cell_link(cell.key, f"{cell.key[2]} {cell.key[3]}")


def _pair(stderrs: Stderrs, score: str, a: dict[str, Any], b: dict[str, Any]) -> float:
    one, two = ("/".join(key_of(row)) for row in (a, b))
    return stderrs[score, one, two] if (score, one, two) in stderrs else stderrs[score, two, one]


def _versions(versions: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (versions or {}).items())


def _mega(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else n_bytes / 1e6


def _id(name: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else f"-{ord(sign):x}-" for sign in name)
