"""Methods of the config, normalized."""

from __future__ import annotations

from typing import Any

import pytest

from ptqbench.errors import UserError
from ptqbench.members import members
from ptqbench.normalize import normalize
from ptqbench.recipe import Member


def refusal(method: dict[str, Any]) -> str:
    with pytest.raises(UserError) as raised:
        normalize("m", method)
    return str(raised.value)


def test_nothing_is_round_to_nearest() -> None:
    recipe = normalize("rtn", {})
    assert recipe.as_json() == {
        "transform": [],
        "range": {"name": "minmax"},
        "rounding": {"name": "nearest"},
        "activations": "none",
        "propagate": False,
    }
    assert recipe.strategy == []


def test_defaults_are_written_out() -> None:
    defaults = members("rounding")["gptq"]["DEFAULTS"]
    assert normalize("m", {"rounding": "gptq"}).rounding == Member("gptq", defaults)
    changed = normalize("m", {"rounding": {"gptq": {"damp": 0.5}}}).rounding
    assert changed == Member("gptq", {**defaults, "damp": 0.5})
    assert normalize("m", {"rounding": {"gptq": {"damp": defaults["damp"]}}}) == normalize("m", {"rounding": "gptq"})


def test_whole_numbers_may_be_given_for_others() -> None:
    assert normalize("m", {"rounding": {"gptq": {"damp": 1}}}).rounding.parameters["damp"] == 1


def test_variants() -> None:
    plain = normalize("m", {"transform": {"rotation": "hadamard"}})
    assert plain.transforms[0].name == "rotation_hadamard"
    assert normalize("m", {"transform": {"rotation": {"hadamard": {"seed": 3}}}}).transforms[0].parameters["seed"] == 3
    assert normalize("m", {"transform": "rotation_hadamard"}) == plain


def test_transforms_keep_their_order() -> None:
    recipe = normalize("m", {"transform": [{"rotation": "hadamard"}, "salience"], "rounding": "gptq"})
    assert [member.name for _, member in recipe.members] == [
        "rotation_hadamard",
        "salience",
        "minmax",
        "gptq",
    ]
    assert recipe.strategy == ["compensation", "rotation", "salience"]


def test_what_needs_both_streams_propagates() -> None:
    assert normalize("m", {"rounding": "gptaq"}).propagate is True
    assert normalize("m", {"rounding": "gptq", "propagate": True}).propagate is True


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"rounding": "gtpq"}, "config: methods.m.rounding: there is no 'gtpq' in rounding: did you mean 'gptq'?"),
        ({"ranges": "minmax"}, "config: methods.m.ranges: a method has no such stage: did you mean 'range'?"),
        (
            {"rounding": {"gptq": {"dmp": 1}}},
            "config: methods.m.rounding.gptq.dmp: no such parameter: did you mean 'damp'?",
        ),
        ({"rounding": {"nearest": {"x": 1}}}, "config: methods.m.rounding.nearest.x: no such parameter: remove it"),
        (
            {"rounding": ["gptq"]},
            "config: methods.m.rounding: write a name, or one name with its parameters, not ['gptq']",
        ),
        ({"activations": "int4"}, "config: methods.m.activations: 'int4' is unknown: did you mean 'int8'?"),
        ({"propagate": "yes"}, "config: methods.m.propagate is 'yes': it must be true or false"),
        ({"rounding": {"gptq": 0.1}}, "config: methods.m.rounding.gptq is 0.1: write its parameters as a mapping"),
    ],
)
def test_mistakes(method: dict[str, Any], message: str) -> None:
    assert refusal(method) == message


def test_parameters_have_a_type_and_limits() -> None:
    for value in ("0.1", True, None, [1], float("nan"), float("inf")):
        assert f"damp is {value!r}: it must be of type number" in refusal({"rounding": {"gptq": {"damp": value}}})
    assert "damp is -1: it must be at least 0" in refusal({"rounding": {"gptq": {"damp": -1}}})
    assert "act_order is 1: it must be of type boolean" in refusal({"rounding": {"gptq": {"act_order": 1}}})
    for value in ("wide", True):
        found = refusal({"rounding": {"gptq": {"block_size": value}}})
        assert f"block_size is {value!r}: it must be of type integer or null" in found
    assert "is 64.0: it must be of type integer or null, written without a point" in refusal(
        {"rounding": {"gptq": {"block_size": 64.0}}}
    )
    assert normalize("m", {"rounding": {"gptq": {"block_size": 64}}}).rounding.parameters["block_size"] == 64
    assert "zero is 'halfinteger': did you mean 'half_integer'?" in refusal({"range": {"rms": {"zero": "halfinteger"}}})
    assert "kind is '../x': choose from hadamard, kronecker" in refusal(
        {"transform": {"incoherence": {"kind": "../x"}}}
    )


def test_settings_that_contradict_each_other() -> None:
    found = refusal({"rounding": {"gptq": {"static_groups": False}}})
    assert found.startswith("config: methods.m.rounding.gptq has act_order: True, static_groups: False: ")
    assert found.endswith("add act_order: false")
    normalize("m", {"rounding": {"gptq": {"static_groups": False, "act_order": False}}})
    assert "propagate is False, and 'gptaq' always propagates" in refusal({"rounding": "gptaq", "propagate": False})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            {"range": "learned", "rounding": "signround"},
            "rounding: 'signround' needs a range that nothing has learned, which 'learned' takes away: "
            "remove one of the two",
        ),
        (
            {"transform": [{"rotation": "hadamard"}, "smooth"]},
            "transform: 'smooth' needs max |x| of its inputs, which 'rotation_hadamard' takes away: "
            "put smooth before rotation_hadamard",
        ),
        ({"transform": ["salience", "salience"]}, "transform names 'salience' twice: name each only once"),
        (
            {"range": "rms", "activations": "int8"},
            "activations: 'int8' needs linears without transforms or half-integer zero-points of their own, which "
            "'rms' takes away: remove one of the two, or change zero of rms",
        ),
    ],
)
def test_members_that_do_not_fit_together(method: dict[str, Any], message: str) -> None:
    assert refusal(method) == f"config: methods.m.{message}"
