"""A method of the config, normalized: which member acts at each stage, with every parameter written out.

A method is a composition (``transform``, ``range``, ``rounding``, ``activations``, ``propagate``), so its class in the
taxonomy of PTQ-Bench (arXiv 2502.13178) is derived from its members and not declared.
"""

from __future__ import annotations

from typing import Any

from ptqbench import compositions, schema
from ptqbench.errors import UserError, did_you_mean, shown, word
from ptqbench.members import FOLDERS, declared, members

STAGES = (*FOLDERS, "activations", "propagate")
ACTIVATIONS = ("none", "int8")
FLOAT: dict[str, Any] = {"transform": [], "range": None, "rounding": None, "activations": "none", "propagate": False}


def normalize(name: str, method: dict[str, Any]) -> dict[str, Any]:
    """The full recipe of a method: ``{transform: [member…], range: member, rounding: member, activations, propagate}``.

    A member is ``{"name": …, **parameters}`` with its defaults filled in, so that a changed default changes the cell.
    """
    where = f"config: methods.{name}"
    for key in method:
        if key not in STAGES:
            raise UserError(f"{where}.{word(key)}: a method has no such stage{did_you_mean(key, STAGES)}")
    transforms = method.get("transform", [])
    if not isinstance(transforms, list):
        transforms = [transforms]
    activations, propagate = method.get("activations", "none"), method.get("propagate", False)
    if activations not in ACTIVATIONS:
        raise UserError(f"{where}.activations: {shown(activations)} is unknown{did_you_mean(activations, ACTIVATIONS)}")
    if not isinstance(propagate, bool):
        raise UserError(f"{where}.propagate is {shown(propagate)}: it must be true or false")
    recipe = {
        "transform": [_member("transform", value, f"{where}.transform") for value in transforms],
        "range": _member("range", method.get("range", "minmax"), f"{where}.range"),
        "rounding": _member("rounding", method.get("rounding", "nearest"), f"{where}.rounding"),
        "activations": activations,
        "propagate": propagate,
    }
    always = [member["name"] for folder, member in member_list(recipe) if _traits(folder, member).get("PROPAGATES")]
    if always and "propagate" in method and not propagate:
        raise UserError(f"{where}.propagate is False, and '{always[0]}' always propagates: remove the key")
    recipe["propagate"] = propagate or bool(always)
    compositions.check(recipe, where)
    return recipe


def _member(stage: str, value: Any, where: str) -> dict[str, Any]:
    """A member with every parameter written out, each of the type and within the limits that its file declares."""
    name, parameters = _name_and_parameters(FOLDERS[stage], value, where)
    traits, where = declared(FOLDERS[stage], name, where), f"{where}.{name}"
    defaults = traits.get("DEFAULTS", {})
    for key in parameters:
        if key not in defaults:
            raise UserError(f"{where}.{word(key)}: no such parameter{did_you_mean(key, defaults)}")
    for key, value in parameters.items():
        schema.check(value, traits["PARAMETERS"][key], f"{where}.{key}".removeprefix("config: "))
    member = {"name": name, **defaults, **parameters}
    for settings, why in traits.get("CONTRADICTIONS", ()):
        if settings.items() <= member.items():
            raise UserError(f"{where} has {', '.join(f'{k}: {v}' for k, v in settings.items())}: {why}")
    return member


def _name_and_parameters(folder: str, value: Any, where: str) -> tuple[str, dict[str, Any]]:
    """``gptq``; ``{gptq: {damp: 0.1}}``; ``{rotation: hadamard}``; ``{rotation: {hadamard: {r2: false}}}``."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict) or len(value) != 1:
        raise UserError(f"{where}: write a name, or one name with its parameters, not {shown(value)}")
    name, inner = next(iter(value.items()))
    if name in members(folder):
        return name, _parameters(inner, f"{where}.{name}")
    if isinstance(inner, str):
        return f"{name}_{inner}", {}
    if not isinstance(inner, dict) or len(inner) != 1:
        raise UserError(f"{where}: there is no {shown(name)} in {folder}{did_you_mean(name, members(folder))}")
    variant, parameters = next(iter(inner.items()))
    return f"{name}_{variant}", _parameters(parameters, f"{where}.{name}.{variant}")


def _parameters(value: Any, where: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{where} is {shown(value)}: write its parameters as a mapping")
    return dict(value or {})


def member_list(recipe: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """``(folder, member)`` of every stage, in the order in which they act."""
    listed = [("transforms", member) for member in recipe["transform"]]
    listed += [(FOLDERS[stage], recipe[stage]) for stage in ("range", "rounding") if recipe[stage]]
    return listed


def traits(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The declared literals of every member of a recipe."""
    return [_traits(folder, member) for folder, member in member_list(recipe)]


def _traits(folder: str, member: dict[str, Any]) -> dict[str, Any]:
    return members(folder)[member["name"]]


def reads_statistics(recipe: dict[str, Any]) -> bool:
    """Whether a recipe reads the statistics of the float model, or makes all its own behind the quantized prefix."""
    return not recipe["propagate"] or any(trait.get("READS_STATISTICS") for trait in traits(recipe))


def strategy(recipe: dict[str, Any]) -> list[str]:
    """The classes of a method, in the taxonomy's order; RTN has none."""
    found = {trait.get(key) for trait in traits(recipe) for key in ("STRATEGY", "ALSO")}
    return [name for name in ("compensation", "rotation", "salience", "optimization") if name in found]
