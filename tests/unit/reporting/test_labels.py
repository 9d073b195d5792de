"""Labels: none over another, over a mark or beyond the frame."""

from __future__ import annotations

import random
from itertools import combinations

from ptqbench.reporting.labels import Box, around, place


def test_nothing_runs_into_anything() -> None:
    frame = Box(0, 0, 600, 300)
    placed = 0
    for seed in range(30):
        generator = random.Random(seed)
        wanted = [
            (generator.uniform(10, 590), generator.uniform(10, 290), "x" * generator.randrange(3, 25))
            for _ in range(20)
        ]
        marks = [around(x, y, 6) for x, y, _ in wanted]
        boxes = [box for box in place(wanted, marks, frame) if box is not None]
        placed += len(boxes)
        assert not any(a.meets(b) for a, b in combinations(boxes, 2))
        assert not any(box.meets(mark) for box in boxes for mark in marks)
        assert all(box.within(frame) for box in boxes)
    assert placed > 300


def test_the_first_has_the_place_beside_its_mark_and_the_last_none() -> None:
    wanted = [(50.0, 50.0, "first"), (50.0, 50.0, "next")]
    first, second = place(wanted, [around(50, 50, 6)], Box(0, 42, 120, 58))
    assert first is not None
    assert first.left - 50 < 12
    assert second is not None, "the other side"
    assert place([*wanted, (50.0, 50.0, "third")], [], Box(0, 42, 120, 58))[2] is None
