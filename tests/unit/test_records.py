"""Records: whatever happens to one, it is named in a line and withdrawn; what is read is what was written."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from mutations import DAMAGE, PLACED, WRONG, damage, places

from ptqbench import records
from ptqbench.errors import DamagedArtifact
from ptqbench.records import misfit
from ptqbench.sealed import fits, read, seal, unseal, withdrawn, write

COUNT = int(os.environ.get("PTQBENCH_SOAK", "1")) * 300
KINDS = [kind for kind in vars(records).values() if is_typeddict(kind)]


def example(kind: Any, rng: random.Random) -> Any:
    """A value of a type: what its definition asks for, and sometimes more."""
    origin, inside = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        found = {"beside": {"more": [1]}} if rng.random() < 0.5 else {}
        for name, wanted in get_type_hints(kind, include_extras=True).items():
            optional = get_origin(wanted) is NotRequired
            if not optional or rng.random() < 0.5:
                found[name] = example(get_args(wanted)[0] if optional else wanted, rng)
        return found
    if origin in (Union, UnionType):
        return example(rng.choice(inside), rng)
    if origin is list:
        return [example(inside[0], rng) for _ in range(rng.randrange(1, 4))]
    if origin is dict:
        return {f"key {index}": example(inside[1], rng) for index in range(rng.randrange(1, 4))}
    numbers = [rng.random(), 1e-300, -3.5, float("nan"), float("inf"), 7]
    values = {int: rng.randrange(10**12), float: rng.choice(numbers), str: rng.choice(["", 'é\n"', "x" * 50])}
    return {**values, bool: True, NoneType: None, Any: rng.choice([1, "x", {"a": None}])}[kind]


def text(value: Any) -> str:
    """Equal for equal values, NaN too."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_read_is_what_was_written(kind: Any, tmp_path: Path) -> None:
    for seed in range(10):
        content = example(kind, random.Random(seed))
        assert misfit(content, kind) is None
        write(tmp_path / "record.json", content, kind)
        assert text(read(tmp_path / "record.json", kind)) == text(content)
        assert fits(tmp_path / "record.json", kind)
        assert text(json.loads((tmp_path / "record.json").read_text()) | {"sealed": 0}) == text(content | {"sealed": 0})


def test_every_damage_is_named_and_withdrawn(tmp_path: Path) -> None:
    """No exception but the one, no hang, no content that is another: over all kinds of records and of damage."""
    seen = set()
    for index in range(COUNT):
        kind = KINDS[index % len(KINDS)]
        file = tmp_path / "a" / "record.json"
        content = example(kind, random.Random(index))
        write(file, content, kind)
        what = damage(file, index // len(KINDS) if index % 2 else index)
        seen.add(what)
        begun = time.monotonic()
        assert not fits(file, kind), what
        with pytest.raises(DamagedArtifact) as raised:
            read(file, kind)
        line = str(raised.value)
        assert time.monotonic() - begun < 5, what
        assert line.startswith(f"{file} "), what
        assert line.endswith(": withdrawn, snakemake makes it anew"), what
        assert "\n" not in line
        assert len(line) - len(str(file)) < 300
        assert not os.path.lexists(file)
        assert os.path.lexists(withdrawn(file))
        write(file, content, kind)
        assert text(read(file, kind)) == text(content)
        assert [path.name for path in file.parent.iterdir()] == ["record.json"]
    assert seen == {kind.__name__ for kind in (*DAMAGE, *PLACED)}


def test_a_changed_byte_anywhere_is_seen() -> None:
    data = seal(example(records.Packed, random.Random(0)), records.Packed).encode()
    for at in range(len(data)):
        for bit in (0, 3, 5):
            changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises(ValueError, match=r"has no digest|is not what was written"):
                unseal(changed, records.Packed)


def sealed_anyway(content: Any) -> bytes:
    """With the right digest, whatever it is: as code of another version may write."""
    body = (content if isinstance(content, str) else json.dumps(content, indent=1, sort_keys=True)) + "\n"
    return f'{{\n "sealed": "{hashlib.sha256(body.encode()).hexdigest()}",{body[1:]}'.encode()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_wrong_type_is_named(kind: Any) -> None:
    """Every value of every record in turn is replaced, and every key left out."""
    rng = random.Random(1)
    content = example(kind, rng)
    plain = json.dumps(content)
    for index, _ in enumerate(places(content)):
        for value in [*rng.sample(WRONG, 2), KeyError]:
            changed = json.loads(plain)
            parent, name = list(places(changed))[index]
            if value is KeyError:
                parent.pop(name)
            else:
                parent[name] = value
            problem = misfit(changed, kind)
            if problem is None:
                assert text(unseal(sealed_anyway(changed), kind)) == text(changed)
                continue
            assert "\n" not in problem
            with pytest.raises(ValueError, match=f"is no record of type {kind.__name__}: "):
                unseal(sealed_anyway(changed), kind)
            with pytest.raises(TypeError, match=f"a record of type {kind.__name__} cannot be written: "):
                seal(changed, kind)


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        (True, int, "it is a bool where int should be"),
        (4.0, int, "it is a float where int should be"),
        (True, float, "it is a bool where float should be"),
        (4, float, None),
        ("4", float, "it is a str where float should be"),
        (None, str | None, None),
        (4, str | None, "it is a int"),
        ([1, 2.5], list[float], None),
        ([1, True], list[float], "it.1 is a bool where float should be"),
        ([[1.0], [None]], list[list[float]], "it.1.0 is null where float should be"),
        ({"a": 1}, dict[str, str], "it.a is a int where str should be"),
        ([], dict[str, str], "it is a list where a mapping should be"),
        ({"files": [1]}, records.Manifest, "it lacks the key 'spec'"),
    ],
)
def test_types(value: Any, kind: Any, problem: str | None) -> None:
    assert misfit(value, kind) == problem


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"lock": ' + "[" * 100_000, '{"lock": ' + "9" * 5000 + "}", "{", "{]"]
)
def test_what_no_parser_takes(body: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not JSON|has no digest|is not what was written)"):
        unseal(sealed_anyway(body), records.Environment)


def test_what_is_missing_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedArtifact, match=r"record\.json is missing: snakemake makes it anew"):
        read(tmp_path / "record.json", records.Environment)
    assert not list(tmp_path.iterdir())
