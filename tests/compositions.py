"""Every method that can be written of the members that there are, each made cheap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

from ptqbench.errors import UserError
from ptqbench.members import members
from ptqbench.normalize import ACTIVATIONS, normalize

CHEAP: dict[str, dict[str, Any]] = {
    "magr": {"iterations": 30},
    "rotation_learned": {"steps": 2},
    "learned": {"epochs": 1},
    "signround": {"iterations": 4},
}

Method = dict[str, Any]


def cheap(name: str) -> Any:
    """A member as a method's line has it."""
    return {name: CHEAP[name]} if name in CHEAP else name


def methods() -> Iterator[Method]:
    """Every list of up to two transforms with every range, rounding, propagation and activations."""
    transforms = [cheap(name) for name in members("transforms")]
    lists = [[], *([one] for one in transforms), *(list(two) for two in product(transforms, transforms))]
    ranges, roundings = ([cheap(name) for name in members(folder)] for folder in ("ranges", "rounding"))
    for chosen, grid, rounding, propagates, kind in product(lists, ranges, roundings, (False, True), ACTIVATIONS):
        method = {"transform": chosen, "range": grid, "rounding": rounding, "activations": kind}
        yield method | ({"propagate": True} if propagates else {})


def refusal(method: Method) -> str | None:
    """Why the planner refuses a method; None where it does not."""
    try:
        normalize("m", method)
    except UserError as error:
        return str(error)
    return None


def parts(method: Method) -> set[tuple[str, str]]:
    """What a method is composed of: every pair of its members is to be covered."""
    recipe = normalize("m", method)
    names = {(f"transform {place}", member.name) for place, member in enumerate(recipe.transforms)}
    names |= {("range", recipe.range.name), ("rounding", recipe.rounding.name)}
    return names | {("propagate", str(recipe.propagate))}


def pairwise(found: list[Method]) -> list[Method]:
    """A few of these methods that hold every pair of parts that any of them holds."""
    pairs = [set(combinations(sorted(parts(method)), 2)) for method in found]
    missing, chosen = set().union(*pairs), []
    while missing:
        best = max(range(len(found)), key=lambda index: len(pairs[index] & missing))
        missing -= pairs[best]
        chosen.append(found[best])
    return chosen
