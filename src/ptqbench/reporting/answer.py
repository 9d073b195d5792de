"""A recommendation in words: what to deploy, how sure that is, and how to serve it; or why there is nothing."""

from __future__ import annotations

import math

from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation
from ptqbench.reporting.scores import kind

UNITS = {"perplexity": "bits per byte", "divergence": "nats", "accuracy": "points"}  # of a lead
NAMED = 3  # cells that are named before the rest is counted


def answer(found: Recommendation, constraints: Constraints) -> list[str]:
    """Lines for a terminal, about one model."""
    if found.best is None:
        lines = none_because(found, constraints)
    else:
        lines = [f"deploy  {title(found.best)}", f"        {facts(found.best, found.scores)}"]
        if found.best.serve:
            lines.append(f"serve   {found.best.serve}")
        lines += [f"sure?   {line}" for line in doubts(found, constraints)]
        others = len(found.satisfying) - 1
        lines.append(f"others  {others} more satisfy this; {ranking(found, constraints)}")
    return lines + [f"left    {line}" for line in left_out(found)]


def title(cell: Candidate) -> str:
    """A cell's name."""
    return f"{cell.id}, the unquantized model" if cell.is_float else cell.id


def facts(cell: Candidate, scores: tuple[str, ...]) -> str:
    """Size, speed and losses in one line."""
    said = [size(cell.bytes)]
    if cell.tokens_per_second is not None:
        said.append(f"{cell.tokens_per_second:.0f} tokens/s")
    for score in scores:
        if cell.is_float:
            continue
        if kind(score) == "divergence" and cell.has(score):
            said.append(f"{score}: {cell.comparable[score]:.5f} nats from the float model")
        elif score in cell.drop:
            drop, high = cell.drop[score]
            said.append(f"{score}: {100 * drop:+.2f} % lost, at most {most(high)}")
    return ", ".join(said)


def most(high: float) -> str:
    """The upper end of a loss."""
    return f"{100 * high:.2f} %" if math.isfinite(high) else "nobody knows what (a single window)"


def ranking(found: Recommendation, constraints: Constraints) -> str:
    """What the order of the cells means."""
    quality = f"quality being {found.scores[0]}"
    if constraints.prefer == "quality":
        return f"ranked by {quality}"
    within = "" if constraints.max_drop is not None else " among those that cannot be told from the best"
    return f"ranked by {constraints.prefer}{within}, {quality}"


def doubts(found: Recommendation, constraints: Constraints) -> list[str]:
    """The lead over the next cell, what chance could undo, and the cell's own caveats."""
    best = found.best
    assert best is not None
    said = []
    if found.margin is not None and found.margin_stderr is not None:
        said.append(lead(found, found.scores[0]))
    said += [*hope(found), *best.caveats]
    clean = next((cell for cell in found.satisfying if not cell.caveats), None)
    if best.caveats and clean is not None:
        said.append(f"the best without such a caveat: {title(clean)} ({facts(clean, found.scores)})")
    return said


def hope(found: Recommendation) -> list[str]:
    """What would be best if the measured losses were exact."""
    if found.unsure is None:
        return []
    return [
        f"{title(found.unsure)} would be preferred if its measured loss were exact "
        f"({facts(found.unsure, found.scores)}): more documents or windows would tell"
    ]


def lead(found: Recommendation, score: str) -> str:
    """The best cell against the next."""
    assert found.margin is not None
    unit = UNITS[kind(score)]
    verdict = "significant" if found.significant else "not significant: choose between them by size or speed"
    other = title(found.satisfying[1])
    numbers = f"{abs(found.margin):.3g} ± {found.margin_stderr:.2g} {unit}"
    side = "better" if found.margin >= 0 else "worse"
    return f"{score}: {numbers} {side} than the next, {other} ({verdict})"


def left_out(found: Recommendation) -> list[str]:
    """Cells that were not judged and scores that did not count, with the reason."""
    said = [f"{cell.id} is not judged: it has no {' and no '.join(scores)}" for cell, scores in found.lacking[:NAMED]]
    if (more := len(found.lacking) - NAMED) > 0:
        said.append(f"{more} more cells are not judged: they lack one of these scores")
    for score, n in found.uncounted.items():
        said.append(f"{score} does not count, as only {n} quantized cell{'s have' if n > 1 else ' has'} it")
    return said


def none_because(found: Recommendation, constraints: Constraints) -> list[str]:
    """The nearest miss and what it misses."""
    if constraints.max_drop is not None and all(kind(score) == "divergence" for score in constraints.scores):
        return ["none, because a KL is no relative loss that a limit could hold: leave the limit out"]
    if not found.scores:
        return ["none, because no cell has the scores that count"]
    if found.miss is None:
        return ["none, because no cell has all scores that count"]
    reasons = [reason(found.miss, name, constraints) for name in found.violations]
    return [
        f"none, because every cell misses something; the nearest is {title(found.miss)}",
        f"        {facts(found.miss, found.scores)}",
        *(f"misses  {reason}" for reason in reasons),
        *(f"        {line}" for line in hope(found)),
    ]


def reason(cell: Candidate, name: str, constraints: Constraints) -> str:
    """One missed constraint in words."""
    if name == "memory":
        return f"its weights take {size(cell.bytes)}, more than {size(constraints.memory or 0)}"
    if name == "tokens per second":
        rate = "was not measured" if cell.tokens_per_second is None else f"is {cell.tokens_per_second:.0f} tokens/s"
        return f"its speed {rate}, where {constraints.tokens_per_second:g} are asked"
    drop, high = cell.drop[name]
    limit = 100 * (constraints.max_drop or 0)
    return f"it loses {100 * drop:.2f} % on {name} and may lose {most(high)}, more than {limit:g} %"


def size(n_bytes: float) -> str:
    """Bytes with a unit that a reader takes in at once."""
    power = min(3, int(math.log(max(n_bytes, 1), 1000)))
    return f"{n_bytes / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"
