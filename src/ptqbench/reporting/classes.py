"""One colour and one mark for each class of methods, wherever it is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NEAREST = "none (nearest rounding)"
COMPENSATION = "compensation"
# what stands beside compensation has the colour, compensation itself the mark; each is seen on white and on black
COLOURS = {
    frozenset[str](): "#7d8590",
    frozenset({"rotation"}): "#3b82d6",
    frozenset({"salience"}): "#c96f12",
    frozenset({"optimization"}): "#2f9150",
    frozenset({"rotation", "salience"}): "#9a63d3",
    frozenset({"rotation", "optimization"}): "#17929f",
    frozenset({"salience", "optimization"}): "#d64545",
    frozenset({"rotation", "salience", "optimization"}): "#a0724a",
    frozenset({"theirs"}): "#c2418c",  # of checkpoints that others quantized, who knows how
}
CIRCLE, DIAMOND = "circle", "diamond"  # without compensation, with it


class Look(NamedTuple):
    """How a class is drawn."""

    name: str
    colour: str
    mark: str


def look(strategy: Iterable[str]) -> Look:
    """Of the classes that a method has, in the order of the table."""
    classes = list(strategy)
    colour = COLOURS[frozenset(classes) - {COMPENSATION}]
    return Look(" + ".join(classes) or NEAREST, colour, DIAMOND if COMPENSATION in classes else CIRCLE)


def mark(drawn: Look, x: float, y: float, hollow: bool = False, radius: float = 5.5) -> str:
    """The mark of a class in an SVG; a hollow one for what is served dense."""
    paper = "var(--paper, #fff)"
    fill, edge, width = (paper, drawn.colour, 2) if hollow else (drawn.colour, paper, 1)
    paint = f'fill="{fill}" stroke="{edge}" stroke-width="{width}"'
    if drawn.mark == CIRCLE:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {paint}/>'
    reach = 1.3 * radius
    sides = f"l{reach:g} {reach:g}l{-reach:g} {reach:g}l{-reach:g} {-reach:g}z"
    return f'<path d="M{x:.1f} {y - reach:.1f}{sides}" {paint}/>'
