"""An exact multiple-choice knapsack: one option for each item, the least loss within a budget."""

from __future__ import annotations

from collections.abc import Sequence

Option = tuple[int, float]  # cost, loss
Path = tuple[int, "Path | None"]


def allocate(items: Sequence[Sequence[Option]], budget: int) -> list[int] | None:
    """Which option each item takes so that costs sum to at most ``budget`` and losses to the least; None if none fits.

    Dynamic programming over the items, keeping of all partial sums only those that no cheaper one beats: exact, and
    as small as the number of distinct sums of costs.
    """
    least = [min(cost for cost, _ in item) for item in items]
    rest = sum(least)
    states: list[tuple[int, float, Path | None]] = [(0, 0.0, None)]
    for item, smallest in zip(items, least, strict=True):
        rest -= smallest
        grown = [
            (spent + cost, lost + loss, (index, path))
            for spent, lost, path in states
            for index, (cost, loss) in enumerate(item)
            if spent + cost + rest <= budget
        ]
        states = undominated(grown)
    return unwound(states[-1][2]) if states else None


def undominated(states: list[tuple[int, float, Path]]) -> list[tuple[int, float, Path | None]]:
    """Of states by rising cost those that lose less than every cheaper one; the last loses least."""
    kept: list[tuple[int, float, Path | None]] = []
    for state in sorted(states, key=lambda state: state[:2]):
        if not kept or state[1] < kept[-1][1]:
            kept.append(state)
    return kept


def unwound(path: Path | None) -> list[int]:
    """The choices of a path, first item first."""
    found = []
    while path is not None:
        found.append(path[0])
        path = path[1]
    return found[::-1]
