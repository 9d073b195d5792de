"""The least loss that each class of methods reaches, beside others of the same range, propagation and width."""

from __future__ import annotations

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.markup import cell_link, escape, identifier, short, table
from ptqbench.reporting.tables import KEY
from ptqbench.schemes import INTEGER
from ptqbench.spec import FLOAT_METHOD, UNKNOWN


def taxonomy(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str) -> str:
    """The least loss of a model that a class reaches, beside others of the same range and propagation (rows), bit-width
    and granularity (columns); ``◆`` is the best of them.

    Of mixed cells, those whose bits per weight round alike are of one width. What others quantized has no class.
    """
    width = pl.coalesce(pl.col("bits").cast(pl.Float64), pl.col("bits_per_weight").round(1))
    named = pl.col("strategy").list.join(" + ").replace("", "none (nearest rounding)")
    data = _where(scores, model=model, score=score)
    data = data.filter(pl.col("method") != FLOAT_METHOD, pl.col("calibration") != UNKNOWN, pl.col("drop").is_not_null())
    if "number" not in cells.columns:  # a table from before there were floats
        cells = cells.with_columns(number=pl.lit(None, pl.String))
    number = pl.col("number").fill_null(INTEGER)
    own = cells.select(*KEY, number, "bits", "group_size", "range", "propagate", width=width, strategy=named)
    data = data.join(own, on=KEY, maintain_order="left").with_columns(pl.col("range").fill_null("unknown"))
    places = data.select("width", "group_size", "number", mixed=pl.col("bits").is_null()).unique()
    places = places.sort("width", "group_size", "number", "mixed", descending=[False, True, False, False])
    settings = data.select("range", "propagate").unique(maintain_order=True).rows()
    rows = [
        (name, *setting)
        for setting in settings
        for name in _where(data, range=setting[0], propagate=setting[1])["strategy"].unique(maintain_order=True)
    ]
    columns: dict[str, list[str]] = {"class": [escape(name) for name, _, _ in rows]}
    columns["range"] = [escape(name) for _, name, _ in rows]
    columns["propagated"] = ["yes" if propagate else "" for _, _, propagate in rows]
    for bits, group, format_, mixed in places.rows():
        here = _where(data, width=bits, group_size=group, number=format_)
        here = here.filter(pl.col("bits").is_null().eq(mixed)).sort("drop", maintain_order=True)
        best = [_where(here, strategy=name, range=own, propagate=behind) for name, own, behind in rows]
        leads = [
            _leads(one, _where(here, range=own, propagate=behind))
            for one, (_, own, behind) in zip(best, rows, strict=True)
        ]
        width_of = f"mixed, {bits:g} bits per weight" if mixed else f"{bits:g} bits"
        width_of = width_of if format_ == INTEGER else f"{format_}, {width_of}"
        title = f"{width_of}, {f'groups of {group}' if group > 0 else 'per channel'}"
        columns[title] = [_best(one) + (" ◆" if leads else "") for one, leads in zip(best, leads, strict=True)]
    return table(columns, f"taxonomy-{identifier(model)}-{identifier(score)}", stub="class")


def _where(data: pl.DataFrame, **values: object) -> pl.DataFrame:
    return data.filter(*(pl.col(name).eq(value) for name, value in values.items()))


def _leads(own: pl.DataFrame, all_: pl.DataFrame) -> bool:
    """Whether the best of a class is the best of several classes."""
    return len(own) > 0 and all_["strategy"].n_unique() > 1 and bool(own["drop"].min() == all_["drop"].min())


def _best(sorted_rows: pl.DataFrame) -> str:
    if not len(sorted_rows):
        return ""
    row = sorted_rows.row(0, named=True)
    return f"{short(100 * row['drop'], 3, sign=True)} ± {short(100 * row['drop_stderr'], 2)} % " + cell_link(
        Cell.of(row), row["method"]
    )
