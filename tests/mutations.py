"""Damage to a file that holds a record: each kind of it, drawn from a seed."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]

WRONG: list[Any] = [None, True, 3, -1, 0.5, float("nan"), 10**400, "x", "", [], [1], {}, {"a": 1}, [[[]]]]


def flip(data: bytes, rng: random.Random) -> bytes:
    """One byte is another."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]


def digit(data: bytes, rng: random.Random) -> bytes:
    """One digit is another."""
    at = rng.choice([match.start() for match in re.finditer(rb"\d", data)])
    other = rng.choice([one for one in b"0123456789" if one != data[at]])
    return data[:at] + bytes([other]) + data[at + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data))]


def longer(data: bytes, rng: random.Random) -> bytes:
    """Something follows."""
    return data + rng.choice([b" ", b"\n", b"{}", b"\0" * 100, data])


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two neighbours have changed places."""
    at = rng.choice([index for index in range(len(data) - 1) if data[index] != data[index + 1]])
    return data[:at] + data[at + 1 : at + 2] + data[at : at + 1] + data[at + 2 :]


def blank(data: bytes, rng: random.Random) -> bytes:
    """A block of a disk is zeros."""
    at = rng.randrange(len(data))
    return data[:at] + b"\0" * len(data[at : at + 512]) + data[at + 512 :]


def another_type(data: bytes, rng: random.Random) -> bytes:
    """One value is of another type, or nothing that JSON has."""
    content = json.loads(data)
    where = rng.choice(list(places(content)))
    parent, name = where
    parent[name] = rng.choice([value for value in WRONG if repr(value) != repr(parent[name])])
    return written(content)


def missing_key(data: bytes, rng: random.Random) -> bytes:
    """One key is gone or misspelt."""
    content = json.loads(data)
    parent, name = rng.choice([(parent, name) for parent, name in places(content) if isinstance(parent, dict)])
    value = parent.pop(name)
    if rng.random() < 0.5:
        parent[f"{name}s"] = value
    return written(content)


def twice(data: bytes, rng: random.Random) -> bytes:
    """A key is there twice, the second time with another value."""
    name = rng.choice(list(json.loads(data)))
    return data.rstrip()[:-1] + f', "{name}": {json.dumps(rng.choice(WRONG[:3]))}}}'.encode()


def deep(data: bytes, rng: random.Random) -> bytes:
    """Brackets without end."""
    kind = rng.choice([b"[", b'{"a":'])
    return data.rstrip()[:-1] + b', "deep": ' + kind * rng.choice([100, 10_000, 1_000_000])


def huge(data: bytes, rng: random.Random) -> bytes:
    """A number of many digits."""
    number = rng.choice([b"9" * 5000, b"1e999999999", b"-" + b"1" * 100_000, b"0." + b"3" * 10_000])
    return re.sub(rb"(?<=: )\d+", number, data, count=1)


def other(data: bytes, rng: random.Random) -> bytes:
    """Something else altogether."""
    return rng.choice([b"", b"{", b"{}", b"[]", b"null", b"3", b'{"files": [1]}', b'{"rows": 3}', b"\xff\xfe", b"\0"])


def unsealed(data: bytes, rng: random.Random) -> bytes:
    """As earlier code wrote it: without a digest."""
    content = json.loads(data)
    content.pop("sealed")
    return written(content)


DAMAGE: tuple[Damage, ...] = (
    flip,
    digit,
    cut,
    longer,
    swapped,
    blank,
    another_type,
    missing_key,
    twice,
    deep,
    huge,
    other,
    unsealed,
)


def folder(file: Path) -> None:
    """A folder with something in it."""
    (file / "x").mkdir(parents=True)


def pipe(file: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(file)


def link_to_nothing(file: Path) -> None:
    """As a cleaned cache leaves it."""
    file.symlink_to("nowhere")


def link_to_itself(file: Path) -> None:
    """A link without end."""
    file.symlink_to(file.name)


def link_to_a_device(file: Path) -> None:
    """Bytes without end."""
    file.symlink_to("/dev/zero")


def sparse(file: Path) -> None:
    """40 GB of nothing."""
    with open(file, "wb") as stream:
        stream.truncate(40 << 30)


PLACED: tuple[Callable[[Path], None], ...] = (folder, pipe, link_to_nothing, link_to_itself, link_to_a_device, sparse)


def damage(file: Path, index: int) -> str:
    """Damage a file in the ``index``-th way; kinds take turns. Returns the name of the kind."""
    rng = random.Random(index)
    kinds = [*DAMAGE, *PLACED]
    kind = kinds[index % len(kinds)]
    if kind in PLACED:
        file.unlink()
        kind(file)
    else:
        data = file.read_bytes()
        tries = (kind(data, rng) for _ in range(20))
        file.write_bytes(next((changed for changed in tries if changed != data), flip(data, rng)))
    return kind.__name__


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside, as what holds it and its name there."""
    names = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for name in names:
        yield content, name
        yield from places(content[name])


def written(content: Any) -> bytes:
    """JSON as records are written."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
