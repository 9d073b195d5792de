"""Which rows of the results are scores: one metric a task, in a declared order; the rest is beside them."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from ptqbench.reporting.tables import KEY

# a share of what could be had, the one that a task is commonly judged by first; QuaRot's evaluation begins as this does
METRICS = ("acc_norm", "acc", "exact_match", "em", "accuracy", "f1", "mcc", "prompt_level_strict_acc", "pass@1")
# of a text, in windows; a server's likeliest tokens give a bound, which is another score
DIVERGENCES = ("kl", "kl_bound")
PERPLEXITY = ("perplexity", "bits_per_byte")  # of a text, in windows; lm-eval's own have no bits per byte beside them


def headline(metrics: Iterable[str]) -> str | None:
    """A task's metric: the first of :data:`METRICS`; of several filters none, or else the one named first."""
    known = [name for name in dict.fromkeys(metrics) if name.partition("[")[0] in METRICS]
    return min(known, key=lambda name: (METRICS.index(name.partition("[")[0]), "[" in name), default=None)


def perplexities(results: pl.DataFrame) -> pl.DataFrame:
    """The rows of perplexities of texts, with ``bits`` per byte."""
    bits = results.filter(pl.col("metric") == PERPLEXITY[1]).select(*KEY, "suite", "task", bits="value")
    own = results.filter(pl.col("metric") == PERPLEXITY[0])
    return own.join(bits, on=[*KEY, "suite", "task"], how="inner", maintain_order="left")


def divergences(results: pl.DataFrame) -> pl.DataFrame:
    """The rows of distances to the float model's predictions."""
    return results.filter(pl.col("metric").is_in(DIVERGENCES), pl.col("window").is_not_null())


def shares(results: pl.DataFrame) -> pl.DataFrame:
    """The rows that a suite's accuracy is the mean of: what was asked, and not what only a group of it holds."""
    return headlined(results.filter(pl.col("asked").fill_null(True)))


def headlined(results: pl.DataFrame) -> pl.DataFrame:
    """The row of each task's headline, where it is a share."""
    rows = results.filter(pl.col("value").abs() <= 1)
    chosen = [
        (suite, task, name)
        for (suite, task), group in rows.group_by("suite", "task", maintain_order=True)
        if (name := headline(group["metric"])) is not None
    ]
    wanted = pl.DataFrame(chosen, schema=dict.fromkeys(("suite", "task", "metric"), pl.String), orient="row")
    return rows.join(wanted, on=["suite", "task", "metric"], how="semi", maintain_order="left")


def unscored(results: pl.DataFrame) -> list[str]:
    """``suite/task`` of what was asked and has no metric of the order, so that it is part of no score."""
    asked = results.filter(pl.col("asked")).select("suite", "task").unique(maintain_order=True)
    return [
        f"{suite}/{task}"
        for suite, task in asked.join(shares(results), on=["suite", "task"], how="anti", maintain_order="left").rows()
    ]
