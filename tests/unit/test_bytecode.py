"""Jobs of a host whose packages have no bytecode compile them once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptqbench.bytecode import settings

IMPORT = "import slow_package, sys; print(slow_package.__cached__)"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package without bytecode, which this Python finds."""
    folder = tmp_path / "site/slow_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def imported(package: Path, more: dict[str, str]) -> Path:
    """Import it as a job does; where its bytecode would be."""
    env = {**os.environ, "PYTHONPATH": str(package.parent), **more}
    done = subprocess.run([sys.executable, "-c", IMPORT], env=env, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_a_job_leaves_bytecode_for_the_next(package: Path, tmp_path: Path) -> None:
    host = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert not imported(package, host).exists()
    found = imported(package, host | settings("slow_package"))
    assert found.is_file()
    assert found.is_relative_to(tmp_path / "cache/ptqbench")
    assert not (package / "__pycache__").exists()


def test_nothing_is_set_where_bytecode_is_in_its_place(package: Path) -> None:
    assert imported(package, {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": ""}).is_file()
    assert settings("slow_package") == {}


def test_nothing_is_set_without_the_package() -> None:
    assert settings("no_such_package_anywhere") == {}
