"""Configs that are written for a user: valid for every model, method and width that there is, and commented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from formats_of_numbers import NAMES
from hypothesis import given
from hypothesis import strategies as st

from ptqbench.drafts import GROUPS, Draft, fitting, known_methods, name_of, text_of
from ptqbench.place import home
from ptqbench.plan import Plan

ROOT = Path(__file__).parents[2]
MODELS = sorted(file.parent for file in ROOT.glob("resources/models/*/config.json"))
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def planned(draft: Draft) -> Plan:
    """The plan of a draft's text, which makes every check that needs no work."""
    return Plan(yaml.safe_load(text_of(draft, "a test")), workflow=home())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_gets_a_config_that_is_accepted(model: Path) -> None:
    draft = Draft(bits=(2, 4, 8), methods=("rtn", "gptq"))
    name = draft.add(str(model))
    plan = planned(draft)
    assert {cell.model for cell in plan.cells} == {name}
    assert len(plan.cells) == 1 + 2 * 3


def test_every_number_format_is_accepted() -> None:
    draft = Draft(bits=(4, *NAMES), methods=("rtn", "awq+gptq"))
    draft.add(str(ROOT / "resources/models/pocket-llama"))
    assert {cell.scheme for cell in planned(draft).cells} == {"float", "w4g128", *NAMES}


def test_every_method_and_width_is_accepted() -> None:
    draft = Draft(bits=(2, 3, 4, 5, 6, 7), methods=tuple(known_methods()))
    draft.methods = tuple(name for name in draft.methods if "int8" not in str(known_methods()[name]))
    draft.add(str(ROOT / "resources/models/pocket-llama"))
    assert len(planned(draft).cells) == 1 + len(draft.methods) * 6


def test_several_models_share_what_fits_all(tiny_model: Path) -> None:
    draft = Draft()
    for model in (ROOT / "resources/models/pocket-llama", tiny_model):
        draft.add(str(model))
    assert (draft.group, draft.sequence) == (64, 64)
    assert list(planned(draft).config["models"]) == ["pocket-llama", "tiny"]


def test_the_group_divides_every_input_and_no_larger_usual_one_does(tiny_model: Path) -> None:
    assert fitting(tiny_model, "") == (64, 64)
    assert fitting(ROOT / "resources/models/pocket-llama", "") == (max(GROUPS), 512)


def test_a_path_may_have_any_signs(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s: my "model", é {1} #2'
    folder.symlink_to(tiny_model)
    draft = Draft()
    name = draft.add(str(folder))
    assert yaml.safe_load(text_of(draft, "a test"))["models"] == {name: {"path": str(tiny_model)}}
    copied = tmp_path / "a: b, #c 'd'"
    copied.mkdir()
    for file in tiny_model.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    draft = Draft()
    name = draft.add(str(copied))
    assert yaml.safe_load(text_of(draft, "a test"))["models"] == {name: {"path": str(copied)}}


def test_every_section_is_explained() -> None:
    draft = Draft()
    draft.add(str(ROOT / "resources/models/pocket-llama"))
    lines = text_of(draft, "Written by a test.").splitlines()
    assert lines[0] == "# Written by a test."
    for section in ("models", "calibration", "schemes", "methods", "suites"):
        assert lines[lines.index(f"{section}:") - 1].startswith("# ")


@given(st.text())
def test_a_name_is_one_that_a_config_may_have(text: str) -> None:
    assert NAME.fullmatch(name_of(text))
