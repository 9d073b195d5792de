"""Violations of the schema, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import REPOSITORY, config
from mutations import damage

from ptqbench import schema
from ptqbench.config import VARIABLE, check, hand_on, take_over
from ptqbench.errors import LONGEST, UserError

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"


def violation(changed: dict[str, Any]) -> str:
    with pytest.raises(UserError) as raised:
        check(changed, SCHEMA)
    return str(raised.value)


def test_the_small_config_is_valid() -> None:
    check(config(), SCHEMA)


@pytest.mark.parametrize("group_size", [-1, 8, 128])
def test_group_sizes(group_size: int) -> None:
    check({**config(), "schemes": {"w4": {"bits": 4, "group_size": group_size}}}, SCHEMA)


@pytest.mark.parametrize("group_size", [0, 1, 7, -2])
def test_group_sizes_that_are_refused(group_size: int) -> None:
    message = violation({**config(), "schemes": {"w4": {"bits": 4, "group_size": group_size}}})
    assert message.startswith(f"config: schemes.w4.group_size is {group_size}: it must be at least 8 input channels")


def test_a_model_has_one_source() -> None:
    for entry in ({}, {"path": "x", "hub": "y/z", "revision": "0" * 40}, {"hub": "y/z"}):
        message = violation({**config(), "models": {"tiny": entry}})
        assert message.endswith("give either path or hub with revision")
        assert "models.tiny" in message


@pytest.mark.parametrize(("section", "name"), [("schemes", "a/b"), ("models", ".hidden"), ("methods", "float")])
def test_names_become_paths(section: str, name: str) -> None:
    changed = config()
    changed[section][name] = next(iter(changed[section].values()))
    assert violation(changed).startswith(f"config: {section} has the name '{name}': begin with a letter or digit")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("grid", [], "config: grid is []: name at least one"),
        ("models", {}, "config: models is {}: name at least one"),
        ("methods", {"rtn": None}, "config: methods.rtn is None: it must be of type object"),
        (
            "export",
            {"format": "gguf"},
            "config: export.format is 'gguf': choose from auto, awq, compressed_tensors, dense, gptq",
        ),
    ],
)
def test_the_message_says_what_is_wanted(key: str, value: Any, expected: str) -> None:
    assert violation({**config(), key: value}) == expected


@pytest.mark.parametrize("section", ["models", "calibration", "schemes", "methods", "suites"])
@pytest.mark.parametrize(
    "name",
    ["p\n", "x" * 65, "p.server", "x.damaged", "x.json", ".", "..", "", "a b", "é", "none", "float", 4, None, True],
)
def test_names_that_would_break_paths(section: str, name: Any) -> None:
    changed = config()
    changed[section][name] = next(iter(changed[section].values()))
    if (section, name) in (("calibration", "none"), ("methods", "float")) or name not in ("none", "float"):
        assert violation(changed).startswith(f"config: {section} has the name ")


def test_names_that_differ_in_case_alone() -> None:
    changed = config()
    changed["schemes"]["W4G32"] = changed["schemes"]["w4g32"]
    assert violation(changed).startswith("config: schemes has the names 'w4g32' and 'W4G32', which some file systems")


def numbers(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every number that the schema speaks of."""
    if isinstance(schema, dict):
        kinds = schema.get("type")
        if {"integer", "number"} & set(kinds if isinstance(kinds, list) else [kinds]):
            yield path, schema
        for key, part in schema.items():
            yield from numbers(part, (*path, key))
    elif isinstance(schema, list):
        for part in schema:
            yield from numbers(part, path)


NUMBERS = dict(numbers(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_every_number_has_limits_and_a_whole_one_no_point(path: tuple[str, ...]) -> None:
    found = NUMBERS[path]
    limits = [found, *found.get("anyOf", ())]
    assert "enum" in found or all(any(word in one for one in limits) for word in ("minimum", "maximum"))
    sound = found.get("enum", [limits[-1].get("minimum")])[0]
    whole = found["type"] != "number"
    for value in (float("nan"), float("inf"), 1e30, 10**30, True, *([float(sound)] if whole else [])):
        with pytest.raises(UserError) as raised:
            schema.check(value, found, "x")
        assert str(raised.value).startswith("config: x is ")
    schema.check(sound, found, "x")
    if whole:
        with pytest.raises(UserError, match=r"of type integer.*, written without a point$"):
            schema.check(float(sound), found, "x")


@pytest.mark.parametrize("section", ["models", "calibration", "schemes", "methods", "suites", "grid"])
@pytest.mark.parametrize("value", [None, [1], "x" * 5000, {1: 2}, {"a": None}, "a\nb" * 2000])
def test_sections_of_another_kind(section: str, value: Any) -> None:
    message = violation({**config(), section: value})
    assert message.startswith(f"config: {section}")
    assert len(message) <= LONGEST
    assert message.isprintable()


def test_a_name_given_twice() -> None:
    changed = config()
    changed["grid"][0]["methods"] = ["rtn", "rtn"]
    assert violation(changed) == "config: grid.0.methods is ['rtn', 'rtn']: name each only once"


def test_a_job_takes_over_the_configuration_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    given = {**config(), "methods": {"z": {}, "a": {}}}
    hand_on(given, tmp_path)
    found = {**config(), "suites": {"of config.yaml": {}}}
    take_over(found)
    assert found == given
    assert list(found["methods"]) == ["z", "a"]


@pytest.mark.parametrize("index", range(13))
def test_a_configuration_that_is_damaged_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    hand_on({**config(), "sealed": 1}, tmp_path)
    damage(Path(os.environ[VARIABLE]), index)
    with pytest.raises(UserError, match=r"json is not what the run wrote, whose name is its digest: run snakemake"):
        take_over({})


def test_runs_do_not_overwrite_each_others_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    hand_on(config(), tmp_path)
    first = os.environ[VARIABLE]
    hand_on({**config(), "methods": {}}, tmp_path)
    monkeypatch.setenv(VARIABLE, first)
    found: dict[str, Any] = {}
    take_over(found)
    assert found == config()
