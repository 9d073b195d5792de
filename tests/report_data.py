"""A small report whose every number is made up, with names that would break a page that did not escape them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.page import page
from ptqbench.reporting.provenance import Evaluation, Origin
from ptqbench.reporting.results import CELLS, ITEMS, RESULTS
from ptqbench.reporting.scores import collect_scores, pairs_table, scores_table
from ptqbench.reporting.tables import KEY

MODELS = ("plain", "</script><script>window.broken=1</script><b>&\"'")
METHODS: dict[str, list[str]] = {"rtn": [], "gptq": ["compensation"], "awq+gptq": ["compensation", "salience"]}
SCHEMES = {"w4": 4, "w3": 3, "w2": 2}
N = 30
TASKS = ("qa<i>", "pairs")


def keys() -> list[Cell]:
    """Every cell, each model's float baseline first."""
    found: list[Cell] = []
    for model in MODELS:
        found.append(Cell(model, "none", "float", "float"))
        found += [Cell(model, "c", method, scheme) for method in METHODS for scheme in SCHEMES]
    return found


def cells() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for index, key in enumerate(keys()):
        _, _, method, scheme = key
        bits = SCHEMES.get(scheme, 16)
        dense = method == "awq+gptq" and bits == 2
        rows.append(
            {
                **dict(zip(KEY, key, strict=True)),
                "strategy": METHODS.get(method, []),
                "bits": bits,
                "group_size": -1,
                "bits_per_weight": bits + 0.1,
                "checkpoint_bytes": (bits * 1000 + index) * 1000,
                "quantize_seconds": None if method == "float" else 10.0 + index,
                "peak_memory_bytes": None if method == "float" else 10**8,
                "proxy_loss": None if method == "float" else 0.1,
                "fallbacks": ["0.q: why"] if method == "rtn" else [],
                "dense": "no kernel<u>" if dense else None,
                "range": None if method == "float" else "minmax",
                "dtype": "bfloat16",
                "n_parameters": 8_000_000,
                "added_bytes": 0,
                "float_bytes": 1000,
                "checkpoint_bits_per_parameter": bits + 0.2,
                "serve": None if (method, scheme) == ("rtn", "w3") else f"vllm serve results/{index}",
                "propagate": False,
                "structure": "dense",
                "family": "family<f>",
                "format": "float" if method == "float" else "dense" if dense else "compressed_tensors",
                "served_bytes": 16_000_000 if dense else (bits * 1000 + index) * 1000,
                "checkpoint": "resources/models/plain" if index == 0 else f"results/{index}",
                "serve_flags": [] if scheme == "w4" else None,
            }
        )
    return pl.DataFrame(rows, schema=CELLS)


def scored() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results and items."""
    shared = np.random.default_rng(0).gamma(4, 0.5, N)
    rows: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for index, key in enumerate(keys()):
        where = dict(zip(KEY, key, strict=True))
        penalty = {16: 0.0, 4: 0.03, 3: 0.1, 2: 0.7}[SCHEMES.get(key[3], 16)]
        penalty /= 1 + len(METHODS.get(key[2], []))
        losses = shared + penalty + np.random.default_rng(index + 1).normal(0, 0.02, N)
        value, spread = math.exp(losses.mean()), losses.std(ddof=1) / math.sqrt(N)
        common = {
            **where,
            "backend": "transformers",
            "export": "e",
            "suite": "text",
            "task": "wiki",
            "n": N,
            "window": 64,
        }
        rows.append({**common, "metric": "perplexity", "value": value, "stderr": value * spread})
        rows.append({**common, "metric": "bits_per_byte", "value": 0.4 * losses.mean(), "stderr": 0.4 * spread})
        found = [("text", "wiki", "perplexity", losses)]
        for number, task in enumerate(TASKS):
            right = (np.random.default_rng(number).random(N) < 0.8 - penalty / 2).astype(float)
            mean, error = right.mean(), right.std(ddof=1) / math.sqrt(N)
            common = {**where, "backend": "transformers", "export": "e", "suite": "qa<i>", "task": task, "n": N}
            rows.append({**common, "metric": "acc", "value": mean, "stderr": error})
            found.append(("qa<i>", task, "acc", right))
        if key[3] == "w4":
            rate = {**where, "backend": "vllm-cuda", "export": "e", "suite": "speed", "task": "batch 1", "n": 3}
            rows.append({**rate, "metric": "tokens_per_second", "value": 40.0 + index, "stderr": 0.1})
        for suite, task, metric, values in found:
            one = {**where, "suite": suite, "task": task, "metric": metric}
            items += [{**one, "item": i, "value": score} for i, score in enumerate(values)]
    return pl.DataFrame(rows, schema=RESULTS), pl.DataFrame(items, schema=ITEMS)


def distances() -> pl.DataFrame:
    """Rows of a KL to the float model, of four bits a bound; more bits are nearer."""
    rows = []
    for key in keys():
        far = {"float": 0.0, "w4": 0.03, "w3": 0.1, "w2": 0.7}[key[3]] / (1 + len(METHODS.get(key[2], [])))
        named = {**dict(zip(KEY, key, strict=True)), "backend": "transformers", "export": "e", "suite": "fidelity"}
        metric = "kl_bound" if key[3] == "w4" else "kl"
        rows.append(
            {**named, "task": "near", "metric": metric, "value": far, "stderr": far / 100, "n": N, "window": 64}
        )
    return pl.DataFrame(rows, schema=RESULTS)


def tables(near: bool = False) -> dict[str, pl.DataFrame]:
    """Every table of the report; ``near``: with a KL to the float model."""
    results, items = scored()
    results = pl.concat([results, distances()]) if near else results
    found = collect_scores(results, items)
    compared = {"scores": scores_table(found), "pairs": pairs_table(found)}
    return {"results": results, "items": items, "cells": cells(), **compared}


def origins() -> dict[Cell, Origin]:
    """What made each cell."""
    command = "snakemake --cores all -- results/eval/x.json"
    evaluation = Evaluation("text<s>", "transformers", "cpu", 1.0, "0a1b", {"torch": "2"}, command)
    return dict.fromkeys(keys(), Origin({"method": "</details>"}, "abc", {"torch": "2"}, (evaluation,)))


def write_report(folder: Path, pages: dict[Cell, str] | None = None) -> Path:
    """``index.html`` in a folder; returns it."""
    file = folder / "index.html"
    found = tables(near=True)
    other = found["cells"].filter(pl.col("model") == "plain", pl.col("calibration") == "c")
    other = other.with_columns(calibration=pl.lit("c@seed1"))  # cells that others stand for
    found["every_cell"] = pl.concat([found["cells"], other])
    file.write_text(page(found, origins(), pages or {}), encoding="utf-8")
    return file
