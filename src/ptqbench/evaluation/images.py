"""Accuracy on questions about images, answered greedily; every answer is kept.

A file of questions is scored by exact answers. The hub's sets are scored as LLaVA-1.5's evaluation scores them, but for
MMBench, whose circular protocol is not followed.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptqbench.data.images import Item, read_items
from ptqbench.errors import about
from ptqbench.progress import progress_bar

REQUIRED = ("questions",)
OPTIONAL = ("limit", "batch_size", "max_tokens")
LONGEST_PROMPT = 4096  # an image's features and the longest question
MAX_TOKENS = 16


def longest(suite: dict[str, Any], context: int) -> int:
    """Tokens of the longest prompt, features and answer included."""
    return min(context, LONGEST_PROMPT)


def run(backend: Any, suite: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows ``task, metric, value, stderr, n``: accuracy of every set and of its categories; POPE's kind has F1 too.

    The row of a whole set also has each question's score in ``items`` and its answer in ``answers``.
    """
    rows = []
    limit, size, length = suite.get("limit"), suite.get("batch_size", 16), suite.get("max_tokens", MAX_TOKENS)
    for name, source in suite["questions"].items():
        with about(f"suites.{suite['name']}.questions.{name} is '{source}'"):
            items = load(source, limit, suite.get("revisions", {}).get(source))
        found: list[str] = []
        with progress_bar(f"questions of {name}", total=len(items)) as bar:
            for start in range(0, len(items), size):
                part = items[start : start + size]
                found += backend.answers(part, length)
                bar(len(part))
        rows += summary(name, items, found)
    return rows


def load(source: str, limit: int | None, revision: str | None = None) -> list[Item]:
    """Questions of a local file, or of a set of the hub at a commit."""
    if source.endswith(".parquet"):
        return read_items(Path(source))[:limit]
    from ptqbench.data.hub_images import fetch

    return fetch(source, limit, revision)


def summary(name: str, items: list[Item], answers: list[str]) -> list[dict[str, Any]]:
    """The rows of one set."""
    scores = [score(item, answer) for item, answer in zip(items, answers, strict=True)]
    rows = [{**accuracy(name, scores, "acc"), "items": scores, "answers": answers}]
    categories = sorted({item.category for item in items if item.category})
    for category in categories:
        chosen = [value for item, value in zip(items, scores, strict=True) if item.category == category]
        rows.append(accuracy(f"{name}/{category}", chosen, "acc_of_category"))
    if categories and {answer for item in items for answer in item.answers} <= {"yes", "no"}:
        rows.append({"task": name, "metric": "f1", "value": f1(items, answers), "stderr": math.nan, "n": len(items)})
    return rows


def accuracy(task: str, scores: list[float], metric: str) -> dict[str, Any]:
    """Mean score and its standard error over questions."""
    n = len(scores)
    mean = sum(scores) / n
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / (n - 1) / n) if n > 1 else math.nan
    return {"task": task, "metric": metric, "value": mean, "stderr": spread, "n": n}


def score(item: Item, answer: str) -> float:
    """Between 0 and 1, by the item's kind of scoring."""
    return SCORES[item.scoring](item.answers, answer)


def exact(right: tuple[str, ...], answer: str) -> float:
    """One of the right answers, but for case, outer spaces and a last full stop."""
    return float(plain(answer) in {plain(one) for one in right})


def letter(right: tuple[str, ...], answer: str) -> float:
    """An option's letter, alone or before a mark (``B``, ``B.``, ``(B) …``)."""
    text = answer.strip().lstrip("(")
    alone = len(text) == 1 or text[1:2] in {*string.punctuation, *string.whitespace}
    return float(bool(text) and alone and text[0].upper() in right)


def votes(right: tuple[str, ...], answer: str) -> float:
    """VQA accuracy (arXiv 1505.00468): the mean, over people left out, of ``min(1, others who said so / 3)``."""
    said = [plain(one) == plain(answer) for one in right]
    return sum(min(1.0, (sum(said) - own) / 3) for own in said) / len(said)


def f1(items: list[Item], answers: list[str]) -> float:
    """F1 of ``yes``."""
    wanted = [item.answers[0] == "yes" for item in items]
    said = [plain(answer) == "yes" for answer in answers]
    both = sum(a and b for a, b in zip(wanted, said, strict=True))
    return 2 * both / max(1, sum(wanted) + sum(said))


def plain(answer: str) -> str:
    """Lower case, without outer spaces and a last full stop."""
    return answer.strip().lower().removesuffix(".").strip()


SCORES: dict[str, Callable[[tuple[str, ...], str], float]] = {"exact": exact, "letter": letter, "votes": votes}
