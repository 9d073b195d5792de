"""A scheme as the config has it, and with all that its number format decides; no torch here."""

from __future__ import annotations

from typing import Any

from ptqbench.errors import UserError
from ptqbench.members import members, module

INTEGER = "integer"
FOLDER = "numbers/formats"  # of formats that are not integers: a file each
GRID = {"group_size": -1, "symmetric": False}
DECIDED = ("bits", "group_size", "symmetric", "budget", "choices")  # what a format of floats leaves no choice in


def filled(scheme: dict[str, Any]) -> dict[str, Any]:
    """Bits, group size and symmetry of a scheme, and its ``number`` where that is none of integers."""
    own = {key: value for key, value in scheme.items() if key != "format"}
    if own.get("number", INTEGER) == INTEGER:
        own.pop("number", None)
        return {**GRID, **own}
    declared = members(FOLDER)[own["number"]]
    return {**own, "bits": declared["BITS"], "group_size": declared["GROUP_SIZE"], "symmetric": True}


def check_scheme(name: str, scheme: dict[str, Any]) -> None:
    """A mixed scheme, and no other, has a budget and the widths to choose from; a format of floats decides all."""
    where, number = f"config: schemes.{name}", scheme.get("number", INTEGER)
    if number != INTEGER:
        for key in DECIDED:
            if key in scheme:
                raise UserError(f"{where}.{key} is {scheme[key]!r}, which number '{number}' decides itself: remove it")
        return
    if "bits" not in scheme:
        raise UserError(f"{where} lacks the key 'bits': add it, or a number format of floats")
    mixed = scheme["bits"] == "mixed"
    for key in ("budget", "choices"):
        if mixed and key not in scheme:
            raise UserError(f"{where} lacks the key '{key}', which mixed bits need: add it")
        if not mixed and key in scheme:
            raise UserError(
                f"{where}.{key} is {scheme[key]!r}, which means nothing to {scheme['bits']} bits: remove it"
            )
    if mixed and not min(scheme["choices"]) <= scheme["budget"] <= max(scheme["choices"]):
        low, high = min(scheme["choices"]), max(scheme["choices"])
        raise UserError(f"{where}.budget is {scheme['budget']}: choose one between its choices, {low} and {high}")


def modules(scheme: dict[str, Any]) -> list[str]:
    """The modules of a scheme's number format, which code reaches by its name."""
    number = scheme.get("number", INTEGER)
    return [] if number == INTEGER else [module(FOLDER, number)]


def is_integer(scheme: dict[str, Any]) -> bool:
    """Whether codes are integers, with zero-points."""
    return bool(scheme.get("number", INTEGER) == INTEGER)


def scale_bytes(scheme: dict[str, Any], itemsize: int) -> float:
    """Bytes of a group's scale in a checkpoint; integers have it in the model's dtype, of ``itemsize`` bytes."""
    return itemsize if is_integer(scheme) else members(FOLDER)[scheme["number"]]["SCALE_BITS"] / 8


def rows(scheme: dict[str, Any]) -> int:
    """Output channels that share a scale and of which every linear has to have a multiple."""
    number = scheme.get("number", INTEGER)
    return 1 if number == INTEGER else int(members(FOLDER)[number].get("ROWS", 1))
