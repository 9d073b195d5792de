"""The frontier: what nothing else beats in both size and quality."""

from __future__ import annotations

from collections.abc import Sequence


def pareto(sizes: Sequence[float], losses: Sequence[float]) -> list[bool]:
    """Which points no other point beats: none is as small and as good, and better in one of the two."""
    points = list(zip(sizes, losses, strict=True))

    def beaten(point: tuple[float, float]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)

    return [not beaten(point) for point in points]
