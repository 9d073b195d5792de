"""Every class has one look, and no two the same."""

from __future__ import annotations

from itertools import combinations

from ptqbench.reporting.classes import look, mark

NAMES = ("compensation", "rotation", "salience", "optimization")


def test_sixteen_classes_look_different() -> None:
    subsets = [list(chosen) for n in range(5) for chosen in combinations(NAMES, n)]
    looks = {(one.colour, one.mark) for one in map(look, subsets)}
    assert len(looks) == len(subsets) == 16
    assert look([]).name == "none (nearest rounding)"
    assert look(["compensation", "rotation"]).name == "compensation + rotation"


def test_compensation_is_seen_by_the_mark_and_dense_by_a_hollow_one() -> None:
    assert mark(look(["salience"]), 1, 2).startswith("<circle")
    assert mark(look(["compensation", "salience"]), 1, 2).startswith("<path")
    hollow = mark(look(["salience"]), 1, 2, hollow=True)
    assert f'fill="{look(["salience"]).colour}"' not in hollow
    assert f'stroke="{look(["salience"]).colour}"' in hollow
