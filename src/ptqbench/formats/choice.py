"""Which checkpoint format serves a cell: the rows of ``choice.yaml``, read without torch."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ptqbench.errors import UserError
from ptqbench.formats.layout import Layout

TABLE = Path(__file__).parent / "choice.yaml"
CONDITIONS = ("bits", "symmetric", "group_size", "grouped", "activations", "mixed", "online")
HOLD_MIXED = ("compressed_tensors", "dense")
DECIDES = ("format", "zeros", "transform", "model_types", "because")  # what a checkpoint depends on

Row = dict[str, Any]


@lru_cache
def table() -> dict[str, list[Row]]:
    """Every backend's rows, in order."""
    found: dict[str, list[Row]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return found


def candidates(backend: str, layout: Layout, asked: str) -> list[Row]:
    """The rows that may serve ``layout`` in the format ``asked`` (or ``auto``), as far as a model's type decides.

    The last row holds for every model. None: the backend does not serve the layout so.
    """
    if layout.mixed:
        return _of_all_widths(backend, layout, asked)
    return _of_one_width(backend, layout, asked)


def formats(backend: str, layout: Layout) -> dict[str, list[str]]:
    """Every format in which a backend serves ``layout``, with the flags that the server needs for it."""
    each = [_formats_of_one_width(backend, one) for one in _widths(layout)]
    held = HOLD_MIXED if layout.mixed else tuple(each[0])
    return {name: each[0][name] for name in held if all(name in one for one in each)}


def instead(backend: str, layout: Layout, model_type: str) -> str:
    """The backend that evaluates a model which ``backend`` has not; ``backend`` itself for all others."""
    rows = (row for row in table()[backend] if model_type in row.get("model_types", []) and _matches(row, layout))
    return next((row["backend"] for row in rows if "backend" in row), backend)


def modules(cell: dict[str, Any]) -> list[str]:
    """The modules that a cell's export may reach, from its spec; none for the float model."""
    names = {row["format"] for row in cell["rows"]} | {"dense"} if "rows" in cell else set()
    return sorted(f"ptqbench.formats.{name}" for name in names)


def choose(rows: list[Row], asked: str, model_type: str) -> Row:
    """The first of the candidate ``rows`` that holds for a model."""
    row = next(row for row in rows if model_type in row.get("model_types", [model_type]))
    if asked not in ("auto", row["format"]):
        raise UserError(f"format '{asked}' serves no '{model_type}' model, {row['because']}: use auto or dense")
    return row


def _of_one_width(backend: str, layout: Layout, asked: str) -> list[Row]:
    rows = [row for row in table()[backend] if _matches(row, layout)]
    if asked != "auto":
        others = [row for row in rows if "model_types" in row and asked != "dense"]
        rows = [row for row in rows if row["format"] == asked or row in others]
    found: list[Row] = []
    for row in rows:
        found.append({key: row[key] for key in DECIDES if key in row and (key != "transform" or layout.online)})
        if "model_types" not in row:
            return found
    return []


def _formats_of_one_width(backend: str, layout: Layout) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in table()[backend]:
        if "model_types" not in row and _matches(row, layout):
            found.setdefault(row["format"], row.get("flags", []))
    return found


def _of_all_widths(backend: str, layout: Layout, asked: str) -> list[Row]:
    """For every model type that a width's rows name, then for all others: what all widths are served in, or dense."""
    each = [_of_one_width(backend, one, asked) for one in _widths(layout)]
    if asked not in ("auto", *HOLD_MIXED) or not all(each):
        return []
    named = sorted({name for rows in each for row in rows for name in row.get("model_types", [])})
    found: list[Row] = []
    for name in [*named, None]:
        rows = [next(row for row in rows if name in row.get("model_types", [name])) for rows in each]
        row = next((row for row in rows if row["format"] == "dense"), rows[0])
        kept = {key: value for key, value in row.items() if key != "model_types"}
        found.append(kept if name is None else {**kept, "model_types": [name]})
    return found


def _widths(layout: Layout) -> list[Layout]:
    return [replace(layout, bits=bits) for bits in layout.widths or (layout.bits,)]


def _matches(row: Row, layout: Layout) -> bool:
    holds_online = row["format"] == "dense" or "transform" in row
    conditions = {"activations": ["none"], "online": [False, True] if holds_online else [False], **row}
    return all(getattr(layout, name) in conditions[name] for name in CONDITIONS if name in conditions)
