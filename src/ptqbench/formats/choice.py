"""Which checkpoint format serves a cell, and which backend evaluates it: ``choice.yaml``, read without torch.

A model's type decides some of it. ``None`` stands for a type that no row of the table names; where a type is not known
yet (a model of the hub, before it is here), :func:`candidates` keeps what each type would decide.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ptqbench.errors import UserError
from ptqbench.formats.layout import Layout
from ptqbench.schemes import INTEGER

TABLE = Path(__file__).parent / "choice.yaml"
CONDITIONS = ("bits", "symmetric", "group_size", "grouped", "activations", "mixed", "online", "number")
HOLD_MIXED = ("compressed_tensors", "dense")
DECIDES = ("format", "zeros", "transform", "because")  # what a checkpoint depends on

Row = dict[str, Any]


@lru_cache
def table() -> dict[str, list[Row]]:
    """Every backend's rows, in order."""
    found: dict[str, list[Row]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return found


def decided(backend: str, layout: Layout, asked: str, model_type: str | None) -> Row | None:
    """What a model's checkpoint of ``layout`` in the format ``asked`` (or ``auto``) is made as for a backend.

    A row whose format is not the one asked for says why the model cannot have that; None: nothing serves it so.
    """
    if layout.mixed and asked not in ("auto", *HOLD_MIXED):
        return None
    rows = [_first(backend, one, asked, model_type) for one in _widths(layout)]
    found = [row for row in rows if row]
    if len(found) < len(rows):
        return None
    row = next((row for row in found if row["format"] == "dense"), found[0])  # what holds all widths, or none
    return {key: row[key] for key in DECIDES if key in row and (key != "transform" or layout.online)}


def served(backend: str, layout: Layout, model_type: str | None) -> tuple[str, dict[str, list[str]]]:
    """The backend that evaluates a model where ``backend`` is asked to, and the formats that it reads of ``layout``.

    It is another one where ``backend`` has no such model. Each format comes with the flags that a server needs for it.
    """
    rows = _rows(backend, _widths(layout)[0], model_type)
    chosen = next((row for row in rows if "model_types" in row), {}).get("backend", backend)
    return chosen, formats(chosen, layout, model_type)


def formats(backend: str, layout: Layout, model_type: str | None = None) -> dict[str, list[str]]:
    """Every format in which a backend itself serves ``layout``, with the flags that the server needs for it."""
    widths = _widths(layout)
    names = HOLD_MIXED if layout.mixed else [row["format"] for row in _rows(backend, widths[0], model_type)]
    found = {}
    for name in dict.fromkeys(names):
        rows = [_first(backend, one, name, model_type) for one in widths]
        if all(row and row["format"] == name for row in rows):
            found[name] = rows[0].get("flags", []) if rows[0] else []
    return found


def candidates(backend: str, layout: Layout, asked: str, model_type: str | None = None) -> list[Row]:
    """The row for a model; while its type is unknown, one for each type that decides otherwise, and one for all others.

    Empty: the backend does not serve the layout so.
    """
    if model_type:
        row = decided(backend, layout, asked, model_type)
        return [row] if row else []
    others = decided(backend, layout, asked, None)
    if others is None:
        return []
    named = sorted({name for row in table()[backend] for name in row.get("model_types", [])})
    found = {name: decided(backend, layout, asked, name) for name in named}
    return [*({**row, "model_types": [name]} for name, row in found.items() if row and row != others), others]


def choose(rows: list[Row], asked: str, model_type: str) -> Row:
    """The first of the candidate ``rows`` that holds for a model.

    Raises :class:`UserError` where the model cannot have the format that is ``asked`` for.
    """
    row = next(row for row in rows if model_type in row.get("model_types", [model_type]))
    if asked not in ("auto", row["format"]):
        raise UserError(f"format '{asked}' serves no '{model_type}' model, {row['because']}: use auto or dense")
    return row


def _first(backend: str, layout: Layout, asked: str, model_type: str | None) -> Row | None:
    """The first row that serves the format, or that keeps the model from it."""
    for row in _rows(backend, layout, model_type):
        if asked in ("auto", row["format"]) or ("model_types" in row and asked != "dense"):
            return row
    return None


def _rows(backend: str, layout: Layout, model_type: str | None) -> list[Row]:
    """The rows that hold for one width of a layout and a model's type, in order."""
    rows = (row for row in table()[backend] if _matches(row, layout))
    return [row for row in rows if model_type in row.get("model_types", [model_type])]


def _widths(layout: Layout) -> list[Layout]:
    return [replace(layout, bits=bits) for bits in layout.widths or (layout.bits,)]


def _matches(row: Row, layout: Layout) -> bool:
    dense = row["format"] == "dense"
    holds_online = dense or "transform" in row
    numbers = [layout.number] if dense else [INTEGER]
    conditions = {
        "activations": ["none"],
        "online": [False, True] if holds_online else [False],
        "number": numbers,
        **row,
    }
    return all(getattr(layout, name) in conditions[name] for name in CONDITIONS if name in conditions)
