"""How far a cell's predictions are from its float model's, on the windows of a text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptqbench.evaluation.divergence import Change, Top, change
from ptqbench.evaluation.perplexity import LONGEST_WINDOW
from ptqbench.evaluation.reference import Head, Stored
from ptqbench.progress import progress_bar

REQUIRED = ("corpora",)
OPTIONAL = ("window", "limit", "batch_size", "top_k")
REFERENCE = True  # of the float model, with which a cell is compared
BATCH_SIZE = 8
TOP_K = 20  # tokens that a server names of each place, by default; what vLLM gives without a flag
QUANTILES = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}

Array = NDArray[np.float64]


def longest(suite: dict[str, Any], context: int) -> int:
    """Tokens of a window, for a model of ``context`` positions."""
    return suite.get("window") or min(context, LONGEST_WINDOW)


def reference(folder: Path, model: Path, remote: bool, device: str) -> Stored:
    """What cells are compared with: the artifact in ``folder`` of the float model in the folder ``model``."""
    return Stored(folder, Head.of(model, remote), device)


def run(backend: Any, suite: dict[str, Any], reference: Stored) -> list[dict[str, Any]]:
    """Rows ``task, metric, value, stderr, n, window, items`` for every corpus, over the windows of ``reference``.

    ``kl`` (nats a token, with its quantiles over tokens), ``same_top`` and ``rms_shift``; where the backend names only
    its likeliest tokens, ``kl_bound`` in place of ``kl`` is a lower bound from ``top_k`` of them.
    """
    rows = []
    size = suite.get("batch_size", BATCH_SIZE)
    for name in suite["corpora"]:
        cut = reference.tokens(name)
        found: list[Change] = []
        with progress_bar(f"fidelity on {name}: window", total=len(cut)) as bar:
            logits = reference.logits(name, size)
            others = iter(backend.predictions(cut, size, suite.get("top_k", TOP_K)))
            for ids in cut.split(size):
                found += changes(ids, next(logits), next(others))  # no name holds them while the next are made
                bar(len(ids))
        common = {"task": name, "n": len(found), "window": cut.shape[1]}
        rows += [{**common, **row} for row in summary(found, None if backend.exact else suite.get("top_k", TOP_K))]
    return rows


def changes(windows: Any, logits: Any, others: Any) -> list[Change]:
    """Those of a batch of windows."""
    return [compared(window, p, q) for window, p, q in zip(windows, logits, others, strict=True)]


def compared(window: Any, reference: Any, other: Any) -> Change:
    """The change in one window: of each of its tokens but the first, from those before it."""
    if isinstance(other, torch.Tensor):
        other = other[:-1]
        return change(reference[:-1].to(other.device), other, window[1:].to(other.device))
    return change(reference[:-1].cpu(), Top(*other), window[1:])


def summary(found: list[Change], top_k: int | None) -> list[dict[str, Any]]:
    """The rows of a corpus from the changes of its windows; ``top_k`` is None where the KL is exact."""
    kl, same, shift = (torch.stack(list(one)).numpy() for one in zip(*found, strict=True))
    name, extra = ("kl", {}) if top_k is None else ("kl_bound", {"top_k": top_k})
    rows = [{"metric": name, **mean(kl.mean(1)), **extra}]
    rows += [{"metric": f"{name}_{short}", **quantile(kl, share), **extra} for short, share in QUANTILES.items()]
    rows.append({"metric": "same_top", **mean(same.mean(1))})
    squares = mean(np.square(shift).mean(1))
    root = math.sqrt(squares["value"])
    stderr = squares["stderr"] / (2 * root) if root else squares["stderr"]
    return [*rows, {"metric": "rms_shift", **squares, "value": root, "stderr": stderr}]


def mean(windows: Array) -> dict[str, Any]:
    """The mean over windows ``[n]`` and its standard error, which nobody knows of a single one."""
    stderr = float(windows.std(ddof=1)) / math.sqrt(len(windows)) if len(windows) > 1 else math.nan
    return {"value": float(windows.mean()), "stderr": stderr, "items": windows.tolist()}


def quantile(tokens: Array, share: float) -> dict[str, Any]:
    """A quantile over all ``tokens [n, t]``, and its standard error over windows (Woodruff 1952).

    It is half the distance of the quantiles at a standard error of the share of tokens below on either side.
    """
    value = np.quantile(tokens, share)
    error = mean((tokens <= value).mean(1))["stderr"]
    if math.isnan(error):
        return {"value": float(value), "stderr": math.nan}
    low, high = np.quantile(tokens, [max(0.0, share - error), min(1.0, share + error)])
    return {"value": float(value), "stderr": float(high - low) / 2}
