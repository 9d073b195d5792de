"""The tables of the report, as polars frames and as Markdown."""

from __future__ import annotations

import polars as pl

KEY = ["model", "calibration", "method", "scheme"]


def wide(scores: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """One row per cell: size, proxy loss, fallbacks, and every score."""
    said = pl.col("strategy").list.join(" + ").replace("", "-")
    table = cells.select(
        *KEY,
        pl.coalesce("theirs", said).alias("strategy") if "theirs" in cells.columns else said,
        pl.col("bits_per_weight").alias("bits/weight"),
        pl.col("checkpoint_bits_per_parameter").alias("checkpoint bits/parameter"),
        (pl.col("checkpoint_bytes") / 1e6).alias("MB"),
        pl.col("proxy_loss").alias("proxy loss"),
        pl.col("fallbacks").list.len().alias("fallbacks"),
        pl.col("dense").is_not_null().replace_strict({True: "dense", False: ""}).alias("served"),
    )
    if scores.is_empty():
        return table
    measured = scores.pivot(on="score", index=KEY, values="value")
    table = table.join(measured, on=KEY, how="left", maintain_order="left")
    over = scores.filter(pl.col("seeds").is_not_null())
    if over.is_empty():
        return table
    spreads = over.with_columns(pl.col("score") + " sd over seeds").pivot(on="score", index=KEY, values="seed_sd")
    counts = over.group_by(KEY).agg(pl.col("seeds").first())
    return table.join(counts, on=KEY, how="left", maintain_order="left").join(
        spreads, on=KEY, how="left", maintain_order="left"
    )


def summary(scores: pl.DataFrame, cells: pl.DataFrame) -> str:
    """``summary.md``: the table, in the order of the plan, and what every column means."""
    notes = (
        "Perplexity (`ppl text@window (suite)`): lower is better, and only one of the same window compares. Accuracy: "
        "mean over the tasks of a suite, in per cent. KL to the float model (`kl text@window (suite)`): nats a token; "
        "`kl≥` is a lower bound, from the tokens that a server names. bits/weight: of the quantized weights with their "
        "scales; of the whole checkpoint, what stays in float included, per parameter: checkpoint bits/parameter. MB: "
        "10⁶ bytes of the packed checkpoint. Proxy loss: sum over all linears of tr(ΔW H ΔWᵀ), the output error on the "
        "calibration tokens. Fallbacks: layers that did not run as asked; served dense: no packed format holds the "
        "cell, or none that the backend serves (`cells.parquet` says which and why). Seeds: a row is the mean "
        "over so many, under the name of the first, with their standard deviation (sd). Scheme `theirs`: a checkpoint "
        "that somebody else quantized, and what its config tells of it. Standard errors, over windows or documents, "
        "are in `scores.parquet`."
    )
    return f"# Results\n\n{markdown(wide(scores, cells))}\n\n{notes}\n"


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
