"""The figure of a model: what is drawn of which points."""

from __future__ import annotations

import math
import re

import pytest
import report_data

from ptqbench.reporting.chart import chart, lay_out, on_frontier, said, told, worth_drawing
from ptqbench.reporting.classes import look
from ptqbench.reporting.kl import divergences
from ptqbench.reporting.points import Point, drop_low, kl_points, loss_points


def point(name: str, n_bytes: int, value: float, high: float | None = None, dense: bool = False) -> Point:
    top = value if high is None else high
    return Point(("m", "c", name, "w4"), n_bytes, value, 2 * value - top, top, look([]), dense)


def test_every_cell_is_a_link_with_its_interval_and_the_float_model_is_there() -> None:
    tables = report_data.tables()
    points = loss_points(tables["scores"], tables["cells"], "plain", "ppl wiki@64 (text)")
    drawn = chart(points, True, "a <title>")
    assert len(re.findall(r'<a href="#cell-[^"]*" data-at=', drawn)) == len(points) == 10
    assert drawn.count('<path class="base"') == 1
    assert drawn.count('stroke-width="2"') == 1, "one cell is dense"
    assert "a &lt;title&gt;" in drawn
    assert re.search(r"loses [\d.]+ %, 95 %: [\d.]+ % to [\d.]+ %", drawn)
    bars = re.findall(r'<line x1="[^>]* stroke="#', drawn)
    assert len(bars) == 9, "the float model has no interval"


def test_divergences_are_drawn_from_none_on() -> None:
    tables = report_data.tables(near=True)
    points = kl_points(divergences(tables["results"]), tables["cells"], "plain")
    assert {point.value for point in points if point.is_float} == {0.0}
    assert min(point.low for point in points) >= 0
    assert len(points) == 10
    assert "nats" in told(points[1], False)


def test_one_point_is_no_figure() -> None:
    base = Point(("m", "none", "float", "float"), 16, 0.0, 0.0, 0.0, look([]))
    assert not worth_drawing([base, point("a", 4, 0.1)])
    assert worth_drawing([base, point("a", 4, 0.1), point("b", 3, 0.2)])


def test_sizes_that_are_alike_leave_the_better_one_on_the_frontier() -> None:
    points = [point("a", 1000, 0.5), point("b", 1005, 0.2), point("c", 1100, 0.3), point("d", 2000, 0.1)]
    assert on_frontier(points) == [False, True, False, True]


def test_intervals_without_an_end_run_to_the_edge() -> None:
    points = [point("a", 1000, 0.5, math.inf), point("b", 2000, 0.2, 0.3)]
    sheet = lay_out(points, True, 1000, 440)
    assert sheet.y.high < 1
    assert "inf" not in chart(points, True, "t")
    assert "95 %" not in told(points[0], True)


@pytest.mark.parametrize(
    ("value", "relative", "text"),
    [
        (0.0, True, "0 %"),
        (0.05, True, "+5 %"),
        (0.015, True, "+1.5 %"),
        (100.0, True, "+10,000 %"),
        (0.02, False, "0.02"),
    ],
)
def test_ticks_say_what_is_lost(value: float, relative: bool, text: str) -> None:
    assert said(value, relative) == text


def test_the_lower_end_of_a_loss_is_even_on_its_own_scale() -> None:
    assert drop_low("ppl a", 0.1, 1.1**2 / 1.05 - 1) == pytest.approx(0.05)
    assert drop_low("acc % a", 0.1, 0.15) == pytest.approx(0.05)


def test_ticks_are_short_enough_for_their_margin() -> None:
    assert [said(value, relative=True) for value in (0, 0.005, 0.3, 30, 3e4)] == [
        "0 %",
        "+0.5 %",
        "+30 %",
        "+3,000 %",
        "× 30,000",
    ]
