"""The tables of the report, as polars frames and as Markdown."""

from __future__ import annotations

import polars as pl

KEY = ["model", "calibration", "method", "scheme"]


def wide(results: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """One row per cell: size, proxy loss, perplexity of each corpus and the mean accuracy of each task suite."""
    perplexity = (
        results.filter(pl.col("metric") == "perplexity")
        .with_columns(task=column())
        .pivot(on="task", index=KEY, values="value", sort_columns=True)
    )
    perplexity = perplexity.rename({name: f"ppl {name}" for name in perplexity.columns if name not in KEY})
    accuracy = results.filter(pl.col("metric") == "acc").group_by([*KEY, "suite"]).agg(pl.col("value").mean() * 100)
    accuracy = accuracy.pivot(on="suite", index=KEY, values="value", sort_columns=True)
    accuracy = accuracy.rename({name: f"acc % {name}" for name in accuracy.columns if name not in KEY})
    table = cells.select(
        *KEY,
        pl.col("strategy").list.join(" + ").replace("", "-"),
        pl.col("bits_per_weight").alias("bits/weight"),
        (pl.col("checkpoint_bytes") / 2**20).alias("MiB"),
        pl.col("proxy_loss").alias("proxy loss"),
        pl.col("fallbacks").list.len().alias("fallbacks"),
    )
    for scores in (perplexity, accuracy):
        if set(scores.columns) - set(KEY):
            table = table.join(scores, on=KEY, how="left", maintain_order="left")
    return table


def column() -> pl.Expr:
    """A task's name, with its suite's where a cell has it in several (by two backends, for example)."""
    several = pl.len().over([*KEY, "task"]).max().over("task") > 1
    return pl.when(several).then(pl.format("{} ({})", "task", "suite")).otherwise("task")


def summary(results: pl.DataFrame, cells: pl.DataFrame) -> str:
    """``summary.md``: the table, in the order of the plan, and what every column means."""
    notes = (
        "Perplexity: lower is better. Accuracy: mean over the tasks of a suite. Proxy loss: sum over all linears of "
        "tr(ΔW H ΔWᵀ), the output error on the calibration tokens. Fallbacks: layers (or the export) that did not run "
        "as asked; `cells.parquet` names them. Standard errors are in `results.parquet`."
    )
    return f"# Results\n\n{markdown(wide(results, cells))}\n\n{notes}\n"


def markdown(table: pl.DataFrame) -> str:
    """A GitHub table; floats with four significant digits."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * table.width]
    lines += ["| " + " | ".join(map(text, row)) + " |" for row in table.iter_rows()]
    return "\n".join(lines)


def text(value: object) -> str:
    """One value as the reader wants it; a pipe would end a Markdown cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")
