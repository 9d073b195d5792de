"""The axes: where values stand, and which round numbers are named."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ptqbench.reporting.axis import byte_axis, loss_axis, loss_numbers, round_numbers


def test_bytes_are_even_on_a_logarithm_and_one_size_has_an_axis() -> None:
    axis = byte_axis([1e6, 4e6], 0, 100)
    assert axis.place(2e6) == pytest.approx(50)
    assert 0 < axis.place(1e6) < axis.place(4e6) < 100
    alone = byte_axis([5e6], 0, 100)
    assert alone.place(5e6) == pytest.approx(50)


def test_losses_are_linear_near_none_and_logarithmic_beyond() -> None:
    axis = loss_axis([-0.001, 30.0], 0.01, 400, 0)
    assert axis.place(0.001) - axis.place(0) == pytest.approx(axis.place(0) - axis.place(-0.001))
    assert axis.place(10) - axis.place(1) == pytest.approx(axis.place(1) - axis.place(0.1), rel=0.01)
    assert axis.place(30) < axis.place(0.1) < axis.place(0) < 400, "more is above"


def test_ticks_are_round_begin_with_none_and_keep_their_distance() -> None:
    axis = loss_axis([0.0, 90.0], 0.01, 400, 0)
    ticks = axis.ticks(loss_numbers(axis, 0.01))
    assert {0.0, 0.01, 0.1, 1.0, 10.0} <= set(ticks)
    places = [axis.place(tick) for tick in ticks]
    assert min(a - b for a, b in pairwise(places)) >= 24
    assert loss_numbers(loss_axis([0.001], 0.01, 400, 0), 0.01)[:2] == [0.0, 0.01]


def test_a_narrow_range_of_bytes_has_several_ticks() -> None:
    axis = byte_axis([5.3e6, 13.6e6], 70, 980)
    assert len(axis.ticks(round_numbers(axis.low, axis.high), 58)) >= 5
    assert round_numbers(1.0, 9.0)[:3] == [1.0, 5.0, 2.0]
