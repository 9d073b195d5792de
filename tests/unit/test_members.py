"""Declarations read from source, without importing it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptqbench import members
from ptqbench.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of members, called ``things``."""
    monkeypatch.setattr(members, "PACKAGE", tmp_path)
    members.members.cache_clear()
    (tmp_path / "things").mkdir()
    (tmp_path / "things/__init__.py").write_text("")
    yield tmp_path / "things"
    members.members.cache_clear()


def test_literals_are_declarations(folder: Path) -> None:
    (folder / "one.py").write_text(
        "raise RuntimeError('imported')\nSTRATEGY = 'x'\nDEFAULTS: dict = {'a': 1}\nlower = 2\nCOMPUTED = max(1, 2)\n"
    )
    assert members.members("things") == {"one": {"STRATEGY": "x", "DEFAULTS": {"a": 1}}}


def test_a_class_named_after_the_file_declares_parameters(folder: Path) -> None:
    (folder / "one_two.py").write_text(
        "class Other:\n    STRATEGY = 'y'\nclass OneTwo(Range):\n    STRATEGY: ClassVar = 'x'\n"
        "    NEEDS: ClassVar[Facts] = {'a': {}}\n"
        "    damp: float = parameter(0.1, minimum=0)\n    width: int | None = parameter(None)\n"
        "    kind: Literal['a', 'b'] = parameter('a')\n    other: int = 3\n"
    )
    assert members.members("things")["one_two"] == {
        "STRATEGY": "x",
        "NEEDS": {"a": {}},
        "DEFAULTS": {"damp": 0.1, "width": None, "kind": "a"},
        "PARAMETERS": {
            "damp": {"type": "number", "minimum": 0},
            "width": {"type": ["integer", "null"]},
            "kind": {"enum": ["a", "b"]},
        },
    }


def test_an_unknown_member(folder: Path) -> None:
    (folder / "nearest.py").write_text("")
    assert members.declared("things", "nearest", "x") == {}
    with pytest.raises(
        UserError, match=r"^methods\.m\.rounding: there is no 'neerest' in things: did you mean 'nearest'"
    ):
        members.declared("things", "neerest", "methods.m.rounding")


@pytest.mark.parametrize("name", ["transforms", "ranges", "rounding", "statistics", "formats", "evaluation"])
def test_every_folder_can_be_read(name: str) -> None:
    assert members.members(name)
