"""What cells cost, and what made each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.markup import cell_link, definitions, escape, short, table
from ptqbench.reporting.names import anchor
from ptqbench.reporting.provenance import Evaluation, Origin
from ptqbench.reporting.tables import KEY


def cost(cells: pl.DataFrame, results: pl.DataFrame, name: str) -> str:
    """Seconds, memory, bytes and speed of every cell of a model, in one unit of bytes."""
    power, unit = (9, "GB") if (cells["served_bytes"].max() or 0) >= 10**10 else (6, "MB")  # type: ignore[operator]
    shown = {
        "bits/weight": ("bits_per_weight", 0),
        "bits/parameter": ("checkpoint_bits_per_parameter", 0),
        f"served, {unit}": ("served_bytes", power),
        f"packed, {unit}": ("checkpoint_bytes", power),
        f"added by a transform, {unit}": ("added_bytes", power),
        "quantize, s": ("quantize_seconds", 0),
        f"peak memory, {unit}": ("peak_memory_bytes", power),
        f"as estimated, {unit}": ("expected_memory_bytes", power),
    }
    ordered = cells.sort("bits_per_weight", maintain_order=True, nulls_last=True)
    columns = {"cell": [cell_link(Cell.of(row), f"{row['method']} {row['scheme']}") for row in ordered.to_dicts()]}
    for title, (column, scale) in shown.items():
        columns[title] = [_number(value, 10**scale) for value in ordered[column]]
    return table(columns | rates(ordered, results, power, unit), name, kind="filtered")


def rates(cells: pl.DataFrame, results: pl.DataFrame, power: int, unit: str) -> dict[str, list[str]]:
    """A column for each speed, and each memory of a server, that was measured of these cells."""
    wanted = pl.col("metric").is_in(["tokens_per_second", "first_token_seconds"])
    own = results.join(cells.select(*KEY), on=KEY, how="semi", maintain_order="left")
    found = own.filter(wanted | pl.col("metric").str.ends_with("_gib"))
    columns: dict[str, list[str]] = {}
    for task, metric in found.select("task", "metric").unique(maintain_order=True).rows():
        rows = found.filter(pl.col("task") == task, pl.col("metric") == metric)
        values = {Cell.of(row): row["value"] for row in rows.iter_rows(named=True)}
        memory = metric.endswith("_gib")
        said = metric.removesuffix("_gib").replace("_", " ") + (f", {unit}" if memory else "")
        factor = 10**power / 2**30 if memory else 1.0
        texts = [_number(values.get(Cell.of(row)), factor) for row in cells.to_dicts()]
        columns[f"{said}, {task}"] = texts
    return columns


def provenance_section(cells: pl.DataFrame, origins: Mapping[Cell, Origin], pages: Mapping[Cell, str]) -> str:
    """One folded entry per cell: what it is, what made it, what fell back, and the commands that do it again."""
    parts = []
    for row in cells.iter_rows(named=True):
        cell = Cell.of(row)
        origin = origins.get(cell)
        told = {
            "format": escape(row["format"]),
            **({"made by others": escape(row["theirs"])} if row.get("theirs") else {}),
            "checkpoint": f"<code>{escape(row['checkpoint'])}</code>",
            "model's dtype": escape(row["dtype"]),
            "served dense": escape(row["dense"] or ("as asked" if row["format"] == "dense" else "no")),
            "fallbacks": escape("; ".join(row["fallbacks"]) or "none"),
        }
        if origin is not None:
            told["made by code"] = f"<code>{escape(origin.code)}</code>, {escape(_versions(origin.versions))}"
            told["configuration"] = f"<code>{escape(json.dumps(origin.spec, sort_keys=True))}</code>"
        if cell in pages:
            told["diagnosis"] = f'<a class="diagnosis" href="{escape(pages[cell])}">why it scores as it does</a>'
        evaluations = "".join(_evaluation(one) for one in (origin.evaluations if origin else ()))
        named = escape(f"{row['method']} {row['scheme']}, {row['calibration']}")
        title = f'{named} <span class="soft">{_flags(row)}</span>'
        parts.append(
            f'<details class="cell" id="{escape(anchor(cell))}" data-of="{escape(f"{cell[2]} {cell[3]}")}">'
            f"<summary>{title}</summary>{definitions(told)}{evaluations}</details>"
        )
    return "".join(parts)


def _evaluation(one: Evaluation) -> str:
    told = f"{one.suite}: {one.backend} on {one.device}, code {one.code}, {_versions(one.versions)}"
    return f"<p class='soft'>{escape(told)}</p><pre>{escape(one.command)}</pre>"


def _flags(row: dict[str, Any]) -> str:
    layers = len(row["fallbacks"])
    said = [f"{layers} fallback{'s' if layers > 1 else ''}"] if layers else []
    return escape(", ".join(said + (["served dense"] if row["format"] == "dense" else [])))


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _number(value: float | None, unit: float = 1.0) -> str:
    return "" if value is None else short(value / unit, 4)
