"""Violations of the schema, in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from clone import REPOSITORY, config

from ptqbench.config import VARIABLE, check, hand_on, take_over
from ptqbench.errors import UserError

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


def test_runs_do_not_overwrite_each_others_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    hand_on(config(), tmp_path)
    first = os.environ[VARIABLE]
    hand_on({**config(), "methods": {}}, tmp_path)
    monkeypatch.setenv(VARIABLE, first)
    found: dict[str, Any] = {}
    take_over(found)
    assert found == config()
