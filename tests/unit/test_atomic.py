"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from clone import REPOSITORY
from safetensors.torch import save_file

from ptqbench.atomic import atomic, write_text
from ptqbench.errors import told


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")

    def interrupted() -> None:
        with atomic(file) as temporary:
            temporary.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_permissions_are_those_that_umask_gives(tmp_path: Path, umask: int) -> None:
    """safetensors makes a file of its own, for this user alone."""
    before = os.umask(umask)
    try:
        with atomic(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
        write_text(tmp_path / "a.json", "{}")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


def limited_write(file: Path) -> None:
    """For a process of its own: each way of writing, where no file may have more than 1,000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    table = pl.DataFrame({"a": list(range(10_000))})
    for write in (
        lambda path: save_file({"a": torch.zeros(10_000)}, path),
        table.write_parquet,
        table.write_csv,
        lambda path: path.write_text("x" * 10_000),
    ):
        try:
            with atomic(file) as temporary:
                write(temporary)
        except OSError as error:
            print(told(error))


def test_a_write_that_is_refused_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    code = f"from pathlib import Path; from unit.test_atomic import limited_write; limited_write(Path({str(file)!r}))"
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("src", "tests"))
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    assert set(lines) == {f"{file}: File too large: raise the limit on the size of files (ulimit -f)"}
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert file.read_text() == "old"


def test_what_stands_in_the_place_of_a_file_gives_way(tmp_path: Path) -> None:
    (tmp_path / "folder/x").mkdir(parents=True)
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "link", "pipe"):
        write_text(tmp_path / name, "new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "kept").read_text() == "kept"
