"""From a method of the config to its recipe: every parameter written out, and refused what does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench import compositions, schema
from ptqbench.errors import UserError, did_you_mean, shown, word
from ptqbench.members import FOLDERS, declared, members
from ptqbench.recipe import Member, Recipe

STAGES = (*FOLDERS, "activations", "propagate")
ACTIVATIONS = ("none", "int8", "fp8")


def normalize(name: str, method: dict[str, Any]) -> Recipe:
    """The full recipe of a method, defaults filled in, so that a changed default changes the cell.

    Raises :class:`UserError` for a stage, member or parameter that is not there, a value that its declaration does not
    allow, and members that do not fit together.
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
    recipe = Recipe(
        transforms=tuple(_member("transform", value, f"{where}.transform") for value in transforms),
        range=_member("range", method.get("range", "minmax"), f"{where}.range"),
        rounding=_member("rounding", method.get("rounding", "nearest"), f"{where}.rounding"),
        activations=activations,
        propagate=propagate,
    )
    always = [member.name for folder, member in recipe.members if members(folder)[member.name].get("PROPAGATES")]
    if always and "propagate" in method and not propagate:
        raise UserError(f"{where}.propagate is False, and '{always[0]}' always propagates: remove the key")
    recipe = replace(recipe, propagate=propagate or bool(always))
    compositions.check(recipe, where)
    return recipe


def _member(stage: str, value: Any, where: str) -> Member:
    """A member with every parameter written out, each of the type and within the limits that its file declares."""
    name, parameters = _name_and_parameters(FOLDERS[stage], value, where)
    traits, where = declared(FOLDERS[stage], name, where), f"{where}.{name}"
    defaults = traits.get("DEFAULTS", {})
    for key in parameters:
        if key not in defaults:
            raise UserError(f"{where}.{word(key)}: no such parameter{did_you_mean(key, defaults)}")
    for key, value in parameters.items():
        schema.check(value, traits["PARAMETERS"][key], f"{where}.{key}".removeprefix("config: "))
    member = Member(name, {**defaults, **parameters})
    for settings, why in traits.get("CONTRADICTIONS", ()):
        if member.has(settings):
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
