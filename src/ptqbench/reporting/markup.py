"""Pieces of the pages. Everything that comes from a config, a model or a task is escaped here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape as _escape

import polars as pl
from great_tables import GT

STYLES = re.compile(r"<style>.*?</style>", re.DOTALL)


def escape(value: object) -> str:
    """Text for an element or a quoted attribute."""
    return _escape(str(value), quote=True)


def table(columns: Mapping[str, Sequence[str]], name: str, stub: str | None = None) -> str:
    """A great table of markup: cells are escaped by whoever wrote them, headers here; the page brings the style."""
    frame = pl.DataFrame({title: list(cells) for title, cells in columns.items()}, schema_overrides=_strings(columns))
    made = GT(frame, rowname_col=stub, id=name).fmt(lambda value: value)
    if stub is not None:
        made = made.tab_stubhead(label=stub).fmt(lambda value: value, columns=stub)
    return f'<div class="wide">{STYLES.sub("", made.as_raw_html())}</div>'


def short(value: float, digits: int, sign: bool = False) -> str:
    """A number with so many significant digits and no exponent; thousands keep their digits."""
    plus = "+" if sign else ""
    return f"{value:{plus}.0f}" if abs(value) >= 10**digits else f"{value:{plus}.{digits}g}"


def definitions(rows: Mapping[str, str]) -> str:
    """A list of terms and markup."""
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{text}</dd>' for term, text in rows.items())}</dl>"


def document(title: str, body: str, style: str, script: str, data: str = "") -> str:
    """One page, with nothing to fetch."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n{body}\n"
        f"{data}<script>{script}</script></body></html>\n"
    )


def _strings(columns: Mapping[str, Sequence[str]]) -> dict[str, type[pl.String]]:
    return dict.fromkeys(columns, pl.String)
