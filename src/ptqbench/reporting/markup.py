"""Pieces of the pages. Everything that comes from a config, a model or a task is escaped here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape as _escape

import polars as pl
from great_tables import GT

from ptqbench.reporting.names import anchor

STYLES = re.compile(r"<style>.*?</style>", re.DOTALL)


def escape(value: object) -> str:
    """Text for an element or a quoted attribute."""
    return _escape(str(value), quote=True)


def table(columns: Mapping[str, Sequence[str]], name: str, stub: str | None = None, kind: str = "") -> str:
    """A great table of markup: cells are escaped by whoever wrote them, headers here; the page brings the style.

    ``kind``: ``filtered`` tables lose rows and columns of which the page's filters leave no cell.
    """
    frame = pl.DataFrame({title: list(cells) for title, cells in columns.items()}, schema_overrides=_strings(columns))
    made = GT(frame, rowname_col=stub, id=name).fmt(lambda value: value)
    if stub is not None:
        made = made.tab_stubhead(label=stub).fmt(lambda value: value, columns=stub)
    return f'<div class="{f"wide {kind}".strip()}">{STYLES.sub("", made.as_raw_html())}</div>'


def folded(title: str, inner: str) -> str:
    """What is read on demand; ``title`` is escaped here."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def identifier(name: str) -> str:
    """A name as a part of an id."""
    return "".join(sign if sign.isalnum() and sign.isascii() else f"-{ord(sign):x}-" for sign in name)


def cell_link(cell: tuple[str, ...], text: str) -> str:
    """A link to what a cell is made of; ``text`` is escaped here."""
    return f'<a href="#{escape(anchor(cell))}">{escape(text)}</a>'


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
