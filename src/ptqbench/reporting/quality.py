"""Method by scheme: each score with its difference to the float model, and what can be told from the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ptqbench.reporting.intervals import NORMAL
from ptqbench.reporting.markup import cell_link, escape, identifier, short, table
from ptqbench.reporting.rows import ScoreRow
from ptqbench.reporting.scores import better_when_lower
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD, NO_CALIBRATION, UNKNOWN

Stderrs = Mapping[tuple[str, str, str], float]


def quality_table(scores: pl.DataFrame, cells: pl.DataFrame, model: str, score: str, stderrs: Stderrs) -> str:
    """Method by scheme, by rising bits: the score, its difference to the float model and what is significant."""
    own = scores.filter(pl.col("model") == model, pl.col("score") == score)
    own = own.join(cells.select(*KEY, "bits_per_weight"), on=KEY, how="left", maintain_order="left")
    rows = [row for row in own.iter_rows(named=True) if row["method"] != FLOAT_METHOD]
    schemes = list(dict.fromkeys(row["scheme"] for row in sorted(rows, key=lambda row: row["bits_per_weight"] or 0)))
    several = own.filter(~pl.col("calibration").is_in([NO_CALIBRATION, UNKNOWN]))["calibration"].n_unique() > 1
    names = list(dict.fromkeys((row["method"], row["calibration"]) for row in rows))
    by = {(row["method"], row["calibration"], row["scheme"]): ScoreRow.of(row) for row in rows}
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
    title = f"<h4>{escape(score)}</h4><p class='soft'>{better} is better.{said}</p>"
    return title + table(columns, f"quality-{identifier(model)}-{identifier(score)}", stub="method", kind="filtered")


def column(rows: Sequence[ScoreRow | None], score: str, stderrs: Stderrs) -> list[str]:
    """One scheme's cells; ``◆`` is the best and ``≈`` what cannot be told from it."""
    sign = 1 if better_when_lower(score) else -1
    present = [row for row in rows if row is not None]
    best = min(present, key=lambda row: sign * row.comparable)
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
        elif abs(row.comparable - best.comparable) <= NORMAL * _pair(stderrs, score, row, best):
            mark = " ≈"
        texts.append(cell_link(row.cell, short(row.value, 4)) + delta(row, sign) + over_seeds(row) + mark)
    return texts


def over_seeds(row: ScoreRow) -> str:
    """The standard deviation over seeds, where the score is a mean over such."""
    if row.seed_sd is None or not row.seeds:
        return ""
    return f" <small>± {short(row.seed_sd, 2)} over {row.seeds} seeds</small>"


def delta(row: ScoreRow, sign: int) -> str:
    """The difference to the float model with its standard error; ``*`` where the interval excludes zero."""
    if row.delta is None or row.delta_stderr is None:
        return ""
    worse = sign * row.delta > 0
    kind = ("worse" if worse else "better") if row.significant else "delta"
    mark = "*" if row.significant else ""
    return f' <span class="{kind}">{short(row.delta, 3, sign=True)} ± {short(row.delta_stderr, 2)}{mark}</span>'


def _pair(stderrs: Stderrs, score: str, a: ScoreRow, b: ScoreRow) -> float:
    one, two = a.cell.path, b.cell.path
    return stderrs[score, one, two] if (score, one, two) in stderrs else stderrs[score, two, one]
