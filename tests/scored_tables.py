"""Random result tables of several suites, nested groups, metrics and gaps, and their scores by brute force."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from ptqbench.reporting.results import ITEMS, RESULTS
from ptqbench.reporting.tables import KEY

CELLS = [("m", "none", "float", "float"), *(("m", "c", method, "w4") for method in ("rtn", "gptq", "awq"))]
WINDOWS = (64, 256, 1024)
ORDER = ("acc_norm", "acc", "exact_match", "f1")  # as the document says it; a part of what the code declares
BESIDE = ("bleu", "acc_stderr_of", "perplexity")  # of tasks; no scores

Cell = tuple[str, str, str, str]


@dataclass
class Tables:
    """The tables, and for each score (by suite, text or None, window) every cell's value."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    expected: dict[tuple[str, str | None, int | None], dict[Cell, float]] = field(default_factory=dict)

    @property
    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Results and items."""
        return pl.DataFrame(self.rows, schema=RESULTS), pl.DataFrame(self.items, schema=ITEMS)


def make(seed: int) -> Tables:
    """One report."""
    generator, made = np.random.default_rng(seed), Tables()
    for number in range(generator.integers(1, 4)):
        _texts(made, f"text-{number}", generator)
    for number in range(generator.integers(1, 4)):
        _tasks(made, f"tasks-{number}", generator)
    return made


def _row(made: Tables, cell: Cell, suite: str, task: str, metric: str, values: list[float] | None, **more: Any) -> None:
    where = {**dict(zip(KEY, cell, strict=True)), "suite": suite, "task": task, "metric": metric}
    made.rows.append({**where, "backend": "b", "export": "e", **more})
    made.items += [{**where, "item": i, "value": value} for i, value in enumerate(values or [])]


def _texts(made: Tables, suite: str, generator: np.random.Generator) -> None:
    """Perplexities; suites share the names of their texts."""
    for text in ("wikitext2", "gutenberg")[: generator.integers(1, 3)]:
        window, n = int(generator.choice(WINDOWS)), int(generator.integers(3, 30))
        shared = generator.gamma(4, 0.5, n)
        for cell in CELLS:
            if generator.random() < 0.15:
                continue
            losses = shared + generator.normal(0.1, 0.05, n)
            value = math.exp(losses.mean())
            common = {"n": n, "window": window}
            spread = value * losses.std(ddof=1) / math.sqrt(n)
            kept = losses.tolist() if generator.random() < 0.9 else None
            _row(made, cell, suite, text, "perplexity", kept, value=value, stderr=spread, **common)
            _row(made, cell, suite, text, "bits_per_byte", None, value=0.4 * losses.mean(), stderr=0.1, **common)
            made.expected.setdefault((suite, text, window), {})[cell] = value


def _tasks(made: Tables, suite: str, generator: np.random.Generator) -> None:
    """Tasks, some in groups of groups; every task has one of the scores and something beside it."""
    leaves = [f"task-{i}" for i in range(generator.integers(2, 9))]
    sizes = {leaf: int(generator.integers(2, 60)) for leaf in leaves}
    grouped = bool(generator.random() < 0.6)
    metric = ORDER[generator.integers(len(ORDER))] if grouped else None  # a group's tasks share their metric
    metrics = {leaf: metric or ORDER[generator.integers(len(ORDER))] for leaf in leaves}
    lower = {
        leaf: [one for one in ORDER[ORDER.index(metrics[leaf]) + 1 :] if generator.random() < 0.5] for leaf in leaves
    }
    cut = sorted({0, *generator.integers(0, len(leaves), 2).tolist(), len(leaves)})
    groups = {f"group-{i}": leaves[a:b] for i, (a, b) in enumerate(pairwise(cut))} if grouped else {}
    if len(groups) > 1:
        groups["all"] = leaves  # a group of groups, which lm-eval takes over its tasks
    roots = ["all"] if "all" in groups else list(groups) or leaves
    by_size = {name: bool(generator.random() < 0.5) for name in groups}
    for cell in CELLS:
        if generator.random() < 0.15:
            continue
        right = {leaf: (generator.random(sizes[leaf]) < 0.7).astype(float) for leaf in leaves}
        for leaf in leaves:
            error = right[leaf].std(ddof=1) / math.sqrt(sizes[leaf])
            more = {"n": sizes[leaf], "asked": leaf in roots, "stderr": error}
            for name in [*BESIDE, *reversed(lower[leaf])]:
                _row(made, cell, suite, leaf, name, None, **{**more, "value": 0.11})
            filtered = f"{metrics[leaf]}[strict]" if metrics[leaf] == "exact_match" else metrics[leaf]
            _row(made, cell, suite, leaf, filtered, right[leaf].tolist(), value=right[leaf].mean(), **more)
        values = {leaf: right[leaf].mean() for leaf in leaves}
        for name, members in groups.items():
            pooled = np.concatenate([right[leaf] for leaf in members])
            values[name] = pooled.mean() if by_size[name] else np.mean([right[leaf].mean() for leaf in members])
            weights = [sizes[leaf] / len(pooled) if by_size[name] else 1 / len(members) for leaf in members]
            more = {"leaves": members, "weights": weights, "asked": name in roots, "n": len(pooled), "stderr": math.nan}
            metric_of = f"{metric}[strict]" if metric == "exact_match" else str(metric)
            _row(made, cell, suite, name, metric_of, None, value=values[name], **more)
        made.expected.setdefault((suite, None, None), {})[cell] = 100 * float(np.mean([values[name] for name in roots]))
