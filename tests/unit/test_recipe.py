"""Recipes as types, and as JSON at the border."""

from __future__ import annotations

import json

from ptqbench.manifest import canonical
from ptqbench.normalize import normalize
from ptqbench.recipe import Member, Recipe

BOTH = {"transform": [{"rotation": "hadamard"}, "salience"], "rounding": {"gptq": {"damp": 0.5}}}


def test_it_is_read_as_it_was_written() -> None:
    recipe = normalize("m", BOTH)
    assert Recipe.of(json.loads(canonical({"name": "m", **recipe.as_json()}))) == recipe


def test_its_members_act_in_order() -> None:
    folders = [(folder, member.name) for folder, member in normalize("m", BOTH).members]
    transforms = [("transforms", "rotation_hadamard"), ("transforms", "salience")]
    assert folders == [*transforms, ("ranges", "minmax"), ("rounding", "gptq")]
    assert normalize("m", {}).modules == ["ptqbench.methods.ranges.minmax", "ptqbench.methods.rounding.nearest"]


def test_a_member_has_what_it_is_set_to() -> None:
    member = Member("gptq", {"damp": 0.5, "act_order": True})
    assert member.has({})
    assert member.has({"damp": 0.5})
    assert not member.has({"damp": 0.1})
    assert not member.has({"name": "gptq"})
