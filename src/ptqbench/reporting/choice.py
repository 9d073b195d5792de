"""What the page shows as chosen, as the command would: its words and its command. The page's script does the same."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace

from ptqbench.reporting.answer import reason, title
from ptqbench.reporting.points import drop_low
from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation, Stderrs, recommend
from ptqbench.reporting.scores import kind

LIMITS = (0.01, 0.02, 0.05, 0.10, 0.20)
UNASKED = (0.05, 0.10, 0.20)  # where no limit is given: the first that a quantized cell holds


def choose(cells: list[Candidate], wanted: Constraints, stderrs: Stderrs) -> tuple[Constraints, Recommendation]:
    """The recommendation for one model within the limit, which is returned where none was given.

    A KL has no limit: by itself it is ranked.
    """
    limits: tuple[float | None, ...] = (wanted.max_drop,)
    if wanted.max_drop is None and not all(kind(score) == "divergence" for score in wanted.scores):
        limits = UNASKED
    for limit in limits:
        held = replace(wanted, max_drop=limit)
        found = recommend(cells, held, stderrs)
        if found.best is not None and not found.best.is_float:
            break
    return held, found


def nearest(cells: list[Candidate], wanted: Constraints, stderrs: Stderrs) -> str:
    """Why no quantized cell holds, by the one that misses least; empty where one does."""
    quantized = [cell for cell in cells if not cell.is_float]
    found = recommend(quantized, wanted, stderrs)
    if found.satisfying or found.miss is None:
        return ""
    reasons = "; ".join(reason(found.miss, name, wanted) for name in found.violations)
    return f"no quantized cell is sure to hold; the nearest is {title(found.miss)}: {reasons}"


def recovered(cell: Candidate, score: str) -> str:
    """What is left of the float model's score, with its 95 % interval."""
    drop, high = cell.drop[score]
    if not math.isfinite(high):
        return f"{100 * (1 - drop):.1f} %, interval unknown"
    low = drop_low(score, drop, high)
    return f"{100 * (1 - drop):.1f} % ({100 * (1 - high):.1f} to {100 * (1 - low):.1f})"


def worst(cell: Candidate, scores: Sequence[str]) -> str | None:
    """The score that a cell may lose most on; a KL is no loss."""
    return max((score for score in scores if score in cell.drop), key=lambda score: cell.drop[score][1], default=None)


def within(held: Constraints) -> str:
    """The limit in words."""
    return "any loss" if held.max_drop is None else f"{100 * held.max_drop:.6g} %"


def command(wanted: Constraints, folder: str, model: str = "", task: str = "", prefer: str = "size") -> str:
    """What says the same in a terminal."""
    words = ["ptqbench", "recommend"]
    options = {"report": "" if folder == "reports" else folder, "model": model, "task": task}
    limit = "" if wanted.max_drop is None else f"{100 * wanted.max_drop:.6g}%"
    options |= {"max-drop": limit, "prefer": prefer}
    for name, value in options.items():
        words += [f"--{name}", value] if value else []
    return shlex.join(words)


def commands(found: Sequence[tuple[str, Constraints]], folder: str) -> str:
    """One command for all models that are held to the same limit, or one a model."""
    limits = {wanted.max_drop for _, wanted in found}
    if len(limits) == 1:
        return command(found[0][1], folder)
    return "\n".join(command(wanted, folder, model) for model, wanted in found)
