"""Every parameter of every member is declared: type, choices and limits; all else is refused at planning."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from compositions import CHEAP
from soak import SOAK, count
from tiny_models import make_cell, make_model, write_statistics

from ptqbench.errors import LONGEST, UserError
from ptqbench.members import FOLDERS, members
from ptqbench.methods.composition import made
from ptqbench.methods.contracts import (
    BlockTransform,
    Learner,
    Range,
    Rounding,
    SiteTransform,
    StreamTransform,
    WeightTransform,
)
from ptqbench.models.skeleton import Skeleton
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import scheme_grid
from ptqbench.recipe import Member

CONTRACTS = {
    "transform": (BlockTransform, SiteTransform, StreamTransform, WeightTransform),
    "range": (Range, Learner),
    "rounding": (Rounding,),
}
LOOPS = ("steps", "iterations", "epochs")
KEYWORDS = {"type", "enum", "minimum", "exclusiveMinimum", "maximum"}
MEMBERS = [(stage, name) for stage, folder in FOLDERS.items() for name in members(folder)]
PARAMETERS = [(stage, name, key) for stage, name in MEMBERS for key in members(FOLDERS[stage])[name]["PARAMETERS"]]
NUMBERS = [-1, 0, 1, 4.0, 0.5, -0.5, math.nan, math.inf, -math.inf, 1e30, -1e30, 1e-300, 10**30, 2**31, 2**32, 2**64]
OTHERS = ["../x", "", "a\nb", "nan", "1", "x" * 5000, None, True, False, [], [1], {}, {"a": 1}, {1: None}]


def declaration(stage: str, name: str, key: str) -> dict[str, Any]:
    return members(FOLDERS[stage])[name]["PARAMETERS"][key]


def method(stage: str, name: str, key: str, value: Any) -> dict[str, Any]:
    return {stage: {name: {key: value}}}


def refusal(stage: str, name: str, key: str, value: Any) -> str | None:
    try:
        normalize("m", method(stage, name, key, value))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("stage", "name"), MEMBERS)
def test_the_planner_reads_what_the_code_has(stage: str, name: str) -> None:
    declared = members(FOLDERS[stage])[name]
    member = made(FOLDERS[stage], Member(name))
    assert isinstance(member, CONTRACTS[stage])
    assert {field.name: field.default for field in dataclasses.fields(member)} == declared["DEFAULTS"]
    assert list(declared["PARAMETERS"]) == list(declared["DEFAULTS"])
    known = {key for kind in type(member).__mro__ for key in vars(kind) if key.isupper()}
    own = {key: value for key, value in vars(type(member)).items() if key.isupper()}
    assert own == {key: value for key, value in declared.items() if key in own}
    assert set(own) <= {key for kind in type(member).__mro__[1:] for key in vars(kind)} & known


@pytest.mark.parametrize(("stage", "name", "key"), PARAMETERS)
def test_a_declaration_has_a_type_and_limits_that_its_default_keeps(stage: str, name: str, key: str) -> None:
    declared = declaration(stage, name, key)
    assert set(declared) <= KEYWORDS
    kinds = {declared["type"]} if isinstance(declared.get("type"), str) else set(declared.get("type", ()))
    assert ("enum" in declared) or kinds <= {"integer", "number", "boolean", "null"}
    if kinds & {"integer", "number"}:
        assert {"minimum", "exclusiveMinimum"} & set(declared)
        assert "maximum" in declared
    default = members(FOLDERS[stage])[name]["DEFAULTS"][key]
    assert refusal(stage, name, key, default) is None


def senseless(amount: int) -> Iterator[tuple[str, str, str, Any]]:
    """Parameters with a value from anywhere, near their limits as well; the same for every run."""
    rng = random.Random(0)
    for _ in range(amount):
        stage, name, key = rng.choice(PARAMETERS)
        declared = declaration(stage, name, key)
        limits = [declared[word] for word in ("minimum", "exclusiveMinimum", "maximum") if word in declared]
        near = [limit + step for limit in limits for step in (-1, -0.5, 0, 0.5, 1)]
        near += [choice.upper() for choice in declared.get("enum", ()) if isinstance(choice, str)]
        yield stage, name, key, rng.choice([*NUMBERS, *OTHERS, *near, *near])


def test_senseless_values_are_refused_in_one_line() -> None:
    for case in senseless(1000):
        found = refusal(*case)
        stage, name, key, value = case
        declared = declaration(stage, name, key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        wrong = (
            value not in declared["enum"]
            if "enum" in declared
            else value is not None and not is_number and declared["type"] != "boolean"
        )
        wrong = wrong or (is_number and not -1 <= value <= 2**33)  # NaN is nowhere
        wrong = wrong or (is_number and "integer" in declared.get("type", ()) and isinstance(value, float))
        assert not wrong or found, case
        if found:
            assert found.startswith(f"config: methods.m.{stage}.{name}"), case
            assert len(found) <= LONGEST
            assert found.isprintable()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("parameters")
    path = make_model(folder / "model")
    return path, write_statistics(path, folder / "statistics")


@pytest.mark.timeout(0 if SOAK else 600)
def test_whatever_is_accepted_runs(model: tuple[Path, Path]) -> None:
    cases = {repr(case): case for case in senseless(count(100, 5000)) if refusal(*case) is None}
    for stage, name, key, value in cases.values():
        value = min(value, 10) if key in LOOPS else value  # a longer loop is only longer
        chosen = {stage: {name: {**CHEAP.get(name, {}), key: value}}}
        if stage != "rounding":
            chosen["rounding"] = "gptq"
        grid = scheme_grid({"bits": 3, "group_size": 32, "symmetric": False}, normalize("m", chosen).as_json())
        cell = make_cell(*model, chosen, grid)
        with torch.no_grad():
            skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
            blocks = cell.propagated(skeleton, 3) if cell.recipe.propagate else cell.blocks()
            for block, _ in blocks:
                assert all(torch.isfinite(linear.dequantize()).all() for linear in block.linears.values()), chosen
    assert len(cases) > (100 if SOAK else 10)


def allowed(declared: dict[str, Any]) -> str:
    """What a declaration allows, as the table of the docs says it."""
    if "enum" in declared:
        return ", ".join(f"`{choice}`" for choice in declared["enum"])
    kinds = [declared["type"]] if isinstance(declared["type"], str) else declared["type"]
    if kinds == ["boolean"]:
        return "true, false"
    low = f"above {declared['exclusiveMinimum']}, to" if "exclusiveMinimum" in declared else f"{declared['minimum']} to"
    text = f"{'whole, ' if 'integer' in kinds else ''}{low} {declared['maximum']}"
    return text + (", null" if "null" in kinds else "")


def test_the_table_of_the_docs_says_what_is_declared() -> None:
    text = Path(__file__).parents[2].joinpath("docs/methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| `([a-z_0-9]+)` \| `([^`]+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    spelled = {True: "true", False: "false", None: "null"}
    expected = []
    for stage, name, key in PARAMETERS:
        default = members(FOLDERS[stage])[name]["DEFAULTS"][key]
        said = spelled[default] if default is None or isinstance(default, bool) else str(default)
        expected.append((name, key, said, allowed(declaration(stage, name, key))))
    assert rows == expected
