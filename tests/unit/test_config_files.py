"""Files of configuration are looked at as they are written: what loaders take in silence is told."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from clone import REPOSITORY
from soak import count

from ptqbench.config_files import LARGEST, MOST_VALUES, check_file, check_files, check_place
from ptqbench.errors import LONGEST, UserError

FILES = [REPOSITORY / "config.yaml", *sorted(REPOSITORY.glob("workflow/presets/*.yaml"))]


def refusal(folder: Path, content: str | bytes) -> str | None:
    file = folder / "c.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        check_file(file)
    except UserError as error:
        return shortened(str(error), file)
    return None


def shortened(line: str, file: Path) -> str:
    assert len(line) <= LONGEST
    assert line.isprintable()
    return line.replace(str(file), "c.yaml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_of_the_repository_are_sound(file: Path) -> None:
    check_file(file)


def mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping of a document that is no alias."""
    if isinstance(node, yaml.MappingNode):
        yield node
    parts = node.value if isinstance(node.value, list) else []
    for part in parts:
        for one in part if isinstance(part, tuple) else (part,):
            yield from mappings(one)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_key_that_stands_twice_is_found_in_every_mapping(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = [node for node in {id(node): node for node in mappings(yaml.compose(text))}.values() if node.value]
    for mapping in found[:: max(1, len(found) // count(8, len(found)))]:
        key = mapping.value[0][0]
        start, line = key.start_mark, key.start_mark.line + 1
        joint = ", " if mapping.flow_style else "\n" + " " * start.column
        changed = f"{text[: start.index]}{key.value}: 0{joint}{text[start.index :]}"
        second = line + ("\n" in joint)
        assert refusal(tmp_path, changed) == (
            f"c.yaml, line {second}: the key '{key.value}' stands in line {line} already: remove one of the two"
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_keys_that_are_no_text(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for key in ("4", "on", "null", "1.5", "2020-01-01"):
        line = text.count("\n") + 1
        assert (
            refusal(tmp_path, f"{text}{key}: {{}}\n")
            == f"c.yaml, line {line}: the key '{key}' is no text: put it in quotes"
        )
    assert refusal(tmp_path, f"{text}? [a, b]\n: 1\n").endswith("the key of several parts is no text: put it in quotes")


def test_broken_files_name_a_line(tmp_path: Path) -> None:
    rng, seen = random.Random(0), 0
    for _ in range(count(30, 3000)):
        text = rng.choice(FILES).read_text(encoding="utf-8")
        place = rng.randrange(len(text))
        changed = (
            text[:place]
            + rng.choice(["{", "]", "\t", ": ", "*x ", "&", "!x ", '"', "- ", "%", "@", "\r", "\x07"])
            + text[place:]
        )
        if found := refusal(tmp_path, changed):
            seen += 1
            assert re.match(r"c\.yaml(, line \d+)?:? ", found), found
    assert seen > 5


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("5", "is 5"),
        ("- a\n", "is ['a']"),
        ("a: {b: 1\nc: 2\n", "line 2: no YAML"),
        ("a: \xff\n".encode("latin-1"), "line 1: invalid start byte"),
        ("a: 1\n---\nb: 2\n", "line 2: no YAML"),
        ("a: !!python/object/apply:os.getpid []\n", "line 1: no YAML"),
        ("a: &a [*a]\n", "line 1: a value holds itself"),
        ("[" * 5000, "too deep"),
        ("a: " + "1" * 5000, "no YAML"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' stands twice"),
        ("a: " + "x" * LARGEST, f"at most {LARGEST}"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert told in (refusal(tmp_path, content) or "")


def test_aliases_that_multiply(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{own}: &{own} [{', '.join([f'*{before}'] * 10)}]" for before, own in zip("abcdefg", "bcdefgh", strict=True)
    ]
    assert f"aliases make more than {MOST_VALUES} values" in (refusal(tmp_path, "\n".join(lines)) or "")
    assert refusal(tmp_path, "\n".join(lines[:3])) is None
    assert refusal(tmp_path, json.dumps({"a": 1}, indent="\t")) is None


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^there is no config\.yaml in .*: run in a folder that has one, or name one"):
        check_files(Path("config.yaml"), [])
    given = tmp_path / "given.yaml"
    given.write_text("a: 1\n")
    check_files(Path("config.yaml"), [given])
    given.write_text("a: 1\na: 1\n")
    with pytest.raises(UserError, match=r"given\.yaml, line 2: the key 'a'"):
        check_files(Path("config.yaml"), [given])
    Path("config.yaml").mkdir()
    os.mkfifo("pipe")
    for name in ("config.yaml", "pipe"):
        with pytest.raises(UserError, match="is no file"):
            check_files(Path(name), [])


def test_where_a_checkout_may_stand() -> None:
    check_place(Path('/home/a b/it\'s "mine" $HOME'))
    for path in ("/home/{a}", "/home/a:b", "/home/a\nb"):
        with pytest.raises(UserError, match=r"^the checkout's folder is .*: move it to a path without"):
            check_place(Path(path))
