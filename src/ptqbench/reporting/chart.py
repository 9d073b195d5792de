"""The figure of a model: bytes against what is lost, a mark for each cell that leads to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptqbench.reporting.answer import size
from ptqbench.reporting.axis import Axis, byte_axis, loss_axis, loss_numbers, round_numbers
from ptqbench.reporting.classes import mark
from ptqbench.reporting.labels import AWAY, Box, around, place
from ptqbench.reporting.markup import escape, short
from ptqbench.reporting.names import anchor
from ptqbench.reporting.points import Point
from ptqbench.reporting.recommend import TIE

UNIT = 0.01  # of a relative loss: linear below 1 %
FACTOR = 100  # larger relative losses are ticked as factors of the float model's
MARGINS = (74.0, 14.0, 18.0, 44.0)  # left, top, right, bottom


@dataclass(frozen=True)
class Sheet:
    """A size in pixels, the axes of the points on it, and whether they are losses or divergences."""

    width: float
    height: float
    x: Axis
    y: Axis
    unit: float
    relative: bool

    @property
    def frame(self) -> Box:
        """Where points are drawn."""
        return Box(MARGINS[0], MARGINS[1], self.width - MARGINS[2], self.height - MARGINS[3])


def worth_drawing(points: Sequence[Point]) -> bool:
    """Whether there is anything to compare."""
    return sum(not point.is_float for point in points) > 1


def chart(points: Sequence[Point], relative: bool, title: str, width: float = 1000, height: float = 440) -> str:
    """The figure as SVG. ``relative``: the points are losses, and not divergences in nats."""
    sheet = lay_out(points, relative, width, height)
    best = [point for point, on in zip(points, on_frontier(points), strict=True) if on]
    parts = [*grid(sheet), *frontier(best, sheet), *marks(points, sheet), *names(points, best, sheet)]
    alike = sheet.x.place((1 + TIE) * sheet.x.low) - sheet.x.start
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    told = f'role="img" aria-label="{escape(title)}"'
    return f'<svg class="chart" data-tie="{alike:.2f}" {box} {told}>{"".join(parts)}</svg>'


def lay_out(points: Sequence[Point], relative: bool, width: float, height: float) -> Sheet:
    """Axes that hold every point; intervals may run out of them."""
    left, top, right, bottom = MARGINS
    values = [point.value for point in points]
    least = min((value for value in values if value > 0), default=1.0)
    unit = UNIT if relative else 10.0 ** math.floor(math.log10(least))
    x = byte_axis([point.bytes for point in points], left, width - right)
    return Sheet(width, height, x, loss_axis(values, unit, height - bottom, top), unit, relative)


def on_frontier(points: Sequence[Point]) -> list[bool]:
    """Which points nothing beats: bytes within :data:`TIE` of each other are alike, as for the recommendation."""

    def beaten(point: Point) -> bool:
        return any(
            (other.bytes <= (1 + TIE) * point.bytes and other.value < point.value)
            or (other.bytes < point.bytes and other.value <= point.value)
            for other in points
        )

    return [not beaten(point) for point in points]


def grid(sheet: Sheet) -> Iterator[str]:
    """Lines at round numbers with their names, and what the axes are of."""
    left, top, right, bottom = sheet.frame
    for value in sheet.x.ticks(round_numbers(sheet.x.low, sheet.x.high), space=58):
        x = sheet.x.place(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{bottom:g}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16:g}" text-anchor="middle">{size(value)}</text>'
    for value in sheet.y.ticks(loss_numbers(sheet.y, sheet.unit)):
        y, kind = sheet.y.place(value), "zero" if value == 0 else "grid"
        yield f'<line class="{kind}" x1="{left:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{left - 6:g}" y="{y + 4:.1f}" text-anchor="end">{said(value, sheet.relative)}</text>'
    below = sheet.height - 6
    yield f'<text class="title" x="{(left + right) / 2:g}" y="{below:g}" text-anchor="middle">weights as served</text>'


def said(value: float, relative: bool) -> str:
    """A tick of the losses: per cent with a sign, or nats."""
    if not relative:
        return short(value, 3)
    if value > FACTOR:  # in full they are wider than their margin
        return f"× {value:,.0f}"
    return f"{100 * value:+,.{0 if abs(value) >= 0.1 else 1}f} %".replace(".0 %", " %") if value else "0 %"


def frontier(best: Sequence[Point], sheet: Sheet) -> Iterator[str]:
    """The line along what nothing beats."""
    if len(best) > 1:
        ordered = sorted(best, key=lambda point: point.bytes)
        path = " ".join(f"{sheet.x.place(point.bytes):.1f},{sheet.y.place(point.value):.1f}" for point in ordered)
        yield f'<polyline class="frontier" points="{path}"/>'


def marks(points: Sequence[Point], sheet: Sheet) -> Iterator[str]:
    """A link for each cell, with its interval and what it is."""
    for point in sorted(points, key=lambda point: -point.value):  # what loses least lies over the others
        x, y = sheet.x.place(point.bytes), sheet.y.place(point.value)
        drawn = _cross(x, y) if point.is_float else mark(point.look, x, y, point.dense)
        title = f"<title>{escape(told(point, sheet.relative))}</title>"
        link = f'<a href="#{escape(anchor(point.key))}" data-at="{x:.1f},{y:.1f}">'
        yield f"{link}{title}{_bar(point, x, sheet)}{drawn}</a>"


def told(point: Point, relative: bool) -> str:
    """A point in words."""
    if point.is_float:
        return f"the unquantized model: {size(point.bytes)}"
    numbers = (point.value, point.low, point.high)
    value, low, high = (f"{100 * one:.2f} %" if relative else f"{one:.3g} nats" for one in numbers)
    between = f", 95 %: {low} to {high}" if math.isfinite(point.high) else ""
    dense = ", served dense" if point.dense else ""
    what = "loses" if relative else "KL"
    return f"{point.name} ({point.look.name}): {size(point.bytes)}{dense}, {what} {value}{between}"


def names(points: Sequence[Point], best: Sequence[Point], sheet: Sheet) -> Iterator[str]:
    """Labels of the unquantized model and of the frontier, the best first, where there is room."""
    ordered = sorted(best, key=lambda point: (not point.is_float, point.value))
    labelled = [*(point for point in points if point.is_float and point not in best), *ordered]
    places = [(sheet.x.place(point.bytes), sheet.y.place(point.value)) for point in points]
    taken = [around(x, y, 6) for x, y in places]
    wanted = [(sheet.x.place(point.bytes), sheet.y.place(point.value), point.name) for point in labelled]
    for point, (x, y, _), box in zip(labelled, wanted, place(wanted, taken, sheet.frame), strict=True):
        if box:
            yield _leader(x, y, box)
            link = f'<a href="#{escape(anchor(point.key))}">'
            where = f'x="{(box.left + box.right) / 2:.1f}" y="{box.bottom - 3:.1f}" text-anchor="middle"'
            yield f'{link}<text class="label" {where}>{escape(point.name)}</text></a>'


def _leader(x: float, y: float, box: Box) -> str:
    """A line from a mark to a label that stands away from it."""
    end = (min(max(x, box.left), box.right), min(max(y, box.top), box.bottom))
    if math.dist((x, y), end) <= AWAY[0] + 1:
        return ""
    return f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'


def _bar(point: Point, x: float, sheet: Sheet) -> str:
    """The 95 % interval, as far as it is on the sheet."""
    if point.low == point.high or math.isnan(point.high):
        return ""
    ends = [min(max(end, sheet.y.low), sheet.y.high) for end in (point.low, point.high)]
    low, high = (sheet.y.place(end) for end in ends)
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{point.look.colour}"/>'


def _cross(x: float, y: float) -> str:
    across = f"M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12"
    return f'<path class="base" d="{across}" stroke="currentColor" stroke-width="3"/>'
