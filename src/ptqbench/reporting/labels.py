"""Labels beside marks, none over another or over a mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LETTER, LINE = 6.9, 14.0  # pixels of a letter and of a line, of the figures' text
AWAY = (9.0, 16.0, 26.0)  # from the mark, nearest first
SIDES = ((1, 0), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1), (0, 1))


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether two have a point in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Whether it lies in another."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def around(x: float, y: float, reach: float) -> Box:
    """The square about a mark."""
    return Box(x - reach, y - reach, x + reach, y + reach)


def place(wanted: Sequence[tuple[float, float, str]], taken: Sequence[Box], frame: Box) -> list[Box | None]:
    """For each ``(x, y, text)`` a box within ``frame`` that meets nothing ``taken`` and no earlier one; or None."""
    found: list[Box | None] = []
    occupied = list(taken)
    for x, y, text in wanted:
        boxes = (_box(x, y, len(text) * LETTER, away, side) for away in AWAY for side in SIDES)
        free = (box for box in boxes if box.within(frame) and not any(box.meets(other) for other in occupied))
        chosen = next(free, None)
        found.append(chosen)
        occupied += [chosen] if chosen else []
    return found


def _box(x: float, y: float, width: float, away: float, side: tuple[int, int]) -> Box:
    across, down = side
    left = x + across * away - (width if across < 0 else width / 2 if across == 0 else 0)
    middle = y + down * (away if across else away + LINE / 3)
    return Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
