"""A recommendation in words: what to deploy, how sure that is, and how to serve it; or why there is nothing."""

from __future__ import annotations

import math

from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation
from ptqbench.reporting.scores import NORMAL, better_when_lower


def answer(found: Recommendation, constraints: Constraints) -> list[str]:
    """Lines for a terminal."""
    if found.best is None:
        return none_because(found, constraints)
    best, score = found.best, constraints.scores[0]
    lines = [f"deploy  {best.id}", f"        {facts(best, constraints.scores)}"]
    if best.serve:
        lines.append(f"serve   {best.serve}")
    lines += [f"sure?   {line}" for line in doubts(found, constraints)]
    others = len(found.satisfying) - 1
    lines.append(f"others  {others} more satisfy this; ranked by {constraints.prefer}, quality being {score}")
    return lines


def facts(cell: Candidate, scores: tuple[str, ...]) -> str:
    """Size, speed and losses in one line."""
    said = [size(cell.bytes)]
    if cell.tokens_per_second is not None:
        said.append(f"{cell.tokens_per_second:.0f} tokens/s")
    for score in scores:
        if score in cell.drop:
            drop, stderr = cell.drop[score]
            said.append(f"{score}: {100 * drop:+.2f} % ± {100 * stderr:.2f} lost")
    return ", ".join(said)


def doubts(found: Recommendation, constraints: Constraints) -> list[str]:
    """The lead over the next cell, what chance could undo, and the cell's own caveats."""
    best, score = found.best, constraints.scores[0]
    assert best is not None
    said = []
    if found.margin is not None and found.margin_stderr is not None:
        said.append(lead(found, score))
    if constraints.max_drop is not None:
        for name in constraints.of(best):
            drop, stderr = best.drop[name]
            if drop + NORMAL * stderr > constraints.max_drop:
                limit = f"{100 * constraints.max_drop:g} %"
                said.append(f"not sure to hold: the interval of its loss on {name} reaches beyond {limit}")
    said += best.caveats
    clean = next((cell for cell in found.satisfying if not cell.caveats), None)
    if best.caveats and clean is not None:
        said.append(f"the best without such a caveat: {clean.id} ({facts(clean, constraints.scores)})")
    return said


def lead(found: Recommendation, score: str) -> str:
    """The best cell against the next."""
    assert found.margin is not None
    unit = "bits per byte" if better_when_lower(score) else "points"
    verdict = "significant" if found.significant else "not significant: choose between them by size or speed"
    other = found.satisfying[1].id
    numbers = f"{abs(found.margin):.3g} ± {found.margin_stderr:.2g} {unit}"
    side = "better" if found.margin >= 0 else "worse"
    return f"{score}: {numbers} {side} than the next, {other} ({verdict})"


def none_because(found: Recommendation, constraints: Constraints) -> list[str]:
    """The nearest miss and what it misses."""
    if found.miss is None:
        return ["none, because the report has no quantized cell"]
    reasons = [reason(found.miss, name, constraints) for name in found.violations]
    return [
        f"none, because every cell misses something; the nearest is {found.miss.id}",
        f"        {facts(found.miss, constraints.scores)}",
        *(f"misses  {reason}" for reason in reasons),
    ]


def reason(cell: Candidate, name: str, constraints: Constraints) -> str:
    """One missed constraint in words."""
    if name == "memory":
        return f"its weights take {size(cell.bytes)}, more than {size(constraints.memory or 0)}"
    if name == "tokens per second":
        rate = "was not measured" if cell.tokens_per_second is None else f"is {cell.tokens_per_second:.0f} tokens/s"
        return f"its speed {rate}, where {constraints.tokens_per_second:g} are asked"
    if name in cell.drop and constraints.max_drop is not None:
        return f"it loses {100 * cell.drop[name][0]:.2f} % on {name}, more than {100 * constraints.max_drop:g} %"
    return f"it has no {name.removesuffix(' was measured')}"


def size(n_bytes: float) -> str:
    """Bytes with a unit that a reader takes in at once."""
    power = min(3, int(math.log(max(n_bytes, 1), 1000)))
    return f"{n_bytes / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"
