"""What would run, and why, as a table: by rule and model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

CODE = re.compile(r"'ptqbench/([^']+\.py)': '([0-9a-f]{12})'")
REASONS = {
    "Missing output files": "not made yet",
    "Incomplete output files": "was interrupted",
    "Updated input files": "its input is newer",
    "Input files updated by another job": "follows",
    "Set of input files has changed": "other inputs",
    "Code has changed": "its rule changed",
    "Software environment definition has changed": "its environment changed",
    "Forced execution": "forced",
    "Rules with": "always",
}
PARAMS = "Params have changed"
MOST_FILES = 3


class Planned(NamedTuple):
    """A job of a dry run."""

    rule: str
    model: str
    why: str


def planned(rule: str, wildcards: Mapping[str, str], reason: str) -> Planned:
    """A job, with Snakemake's reason in a few words: what follows from another job is told only if nothing else is."""
    known = [words for start, words in REASONS.items() if start in reason]
    if PARAMS in reason:
        known.append(changed(reason.partition(PARAMS)[2]))
    own = [words for words in known if words != "follows"]
    if own == ["not made yet"] or not own:
        return Planned(rule, wildcards.get("model", ""), (own or known or [reason])[0])
    return Planned(rule, wildcards.get("model", ""), ", ".join(words for words in own if words != "not made yet"))


def changed(params: str) -> str:
    """Which files of code differ between a rule's parameters before and now, or else that its settings do."""
    before, _, now = params.partition("now: ")
    files = sorted({name for name, _ in set(CODE.findall(before)) ^ set(CODE.findall(now))})
    if not files:
        return "its settings changed"
    more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
    return f"code changed: {', '.join(files[:MOST_FILES])}{more}"


def table(jobs: Iterable[Planned]) -> list[str]:
    """Lines of a table of rule, model, number of jobs and reasons, rules in the order in which they come first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for job in jobs:
        counts.setdefault((job.rule, job.model), Counter())[job.why] += 1
    order = list(dict.fromkeys(rule for rule, _ in counts))
    rows = [("rule", "model", "jobs", "why")]
    for (rule, model), reasons in sorted(counts.items(), key=lambda row: order.index(row[0][0])):
        total = sum(reasons.values())
        why = "; ".join(words if n == total else f"{n} {words}" for words, n in reasons.most_common())
        rows.append((rule, model, str(total), why))
    rows.append(("total", "", str(sum(sum(reasons.values()) for reasons in counts.values())), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
