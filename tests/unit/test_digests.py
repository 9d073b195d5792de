"""Digests of whole files: every byte counts, and a file that did not change is read once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from ptqbench import digests as module
from ptqbench.digests import MEMORY, digests


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed, as they are."""
    names: list[str] = []
    original = module.digest

    def noted(file: Path) -> str:
        names.append(file.name)
        return original(file)

    monkeypatch.setattr(module, "digest", noted)
    monkeypatch.setattr(module, "SETTLED", -(10**18))  # as if every file had lain there for long
    return names


def test_any_byte_of_a_file_of_any_size_counts(tmp_path: Path, read: list[str]) -> None:
    """Between the places that a sample would have, in a file of more than 64 MiB, its size and times kept."""
    file, size = tmp_path / "f", (1 << 26) + 12345
    with open(file, "wb") as stream:
        stream.truncate(size)
    found = set(digests([file], tmp_path).values())
    for place in (0, 1 << 25, (1 << 25) + 70_001, size - 1):
        times = file.stat().st_atime_ns, file.stat().st_mtime_ns
        with open(file, "r+b") as stream:
            stream.seek(place)
            stream.write(b"x")
        os.utime(file, ns=times)
        found |= set(digests([file], tmp_path).values())
    assert len(found) == 5
    assert len(read) == 5


def test_a_file_is_read_once(tmp_path: Path, read: list[str]) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    files = [tmp_path / name for name in "abc"]
    first = digests(files, tmp_path)
    assert first == {file: hashlib.sha256(file.name.encode()).hexdigest()[:24] for file in files}
    assert sorted(read) == ["a", "b", "c"]
    assert digests(files, tmp_path) == first
    assert sorted(read) == ["a", "b", "c"], "remembered"
    files[0].touch()
    shutil.copy(files[1], tmp_path / "copy")
    os.replace(tmp_path / "copy", files[1])
    assert digests(files, tmp_path) == first, "touched and copied, and the same"
    assert sorted(read) == ["a", "a", "b", "b", "c"]
    files[2].write_text("C")
    assert digests(files, tmp_path)[files[2]] != first[files[2]]
    assert digests(files) == digests(files, tmp_path), "without a memory too"


def test_a_file_that_just_changed_may_change_again_unnoticed(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED", 10**9)
    (tmp_path / "f").write_text("a")
    digests([tmp_path / "f"], tmp_path)
    digests([tmp_path / "f"], tmp_path)
    assert read == ["f", "f"]
    time.sleep(1.1)
    digests([tmp_path / "f"], tmp_path)
    digests([tmp_path / "f"], tmp_path)
    assert read == ["f", "f", "f"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"x": 1}', '{"x": ["short", 1]}', "[" * 100_000, "\x00", '{"%s": [7, []]}']
)
def test_a_damaged_memory_is_made_anew(tmp_path: Path, read: list[str], content: str) -> None:
    (tmp_path / "f").write_text("a")
    (tmp_path / MEMORY).write_text(content.replace("%s", str(tmp_path / "f")))
    expected = hashlib.sha256(b"a").hexdigest()[:24]
    assert digests([tmp_path / "f"], tmp_path) == {tmp_path / "f": expected}
    assert json.loads((tmp_path / MEMORY).read_text())[str(tmp_path / "f")][0] == expected
    digests([tmp_path / "f"], tmp_path)
    assert read == ["f"]


def test_a_memory_that_cannot_be_written_is_none(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "f").write_text("a")
    assert digests([tmp_path / "f"], tmp_path / "nowhere") == digests([tmp_path / "f"])
    assert not [name for name in os.listdir(tmp_path) if name != "f"]


def test_what_is_gone_is_forgotten(tmp_path: Path, read: list[str]) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    digests([tmp_path / "a"], tmp_path)
    (tmp_path / "a").unlink()
    digests([tmp_path / "b"], tmp_path)
    assert list(json.loads((tmp_path / MEMORY).read_text())) == [str(tmp_path / "b")]


def test_much_to_read_is_said(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "WORTH_A_WORD", 10)
    (tmp_path / "f").write_text("a" * 11)
    digests([tmp_path / "f"], tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("Reading ")
    assert str(tmp_path) in said
    digests([tmp_path / "f"], tmp_path)
    assert capsys.readouterr().err == ""
