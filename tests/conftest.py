"""What tests share: one finished run of the whole chain on a tiny model, made once."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch

from ptqbench.devices import visible_gpus

if not visible_gpus():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before torch imports triton: its kernels as numpy

import clone as clones
import pytest
import tiny
from filelock import FileLock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the whole workflow first: the longest, for which no worker should wait in the end."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model, to read only."""
    return tiny.write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> clones.Clone:
    """A clone without results, to copy."""
    return clones.make(tmp_path_factory.mktemp("blank") / "clone")


@pytest.fixture(scope="session")
def finished(blank: clones.Clone, tmp_path_factory: pytest.TempPathFactory) -> clones.Clone:
    """A clone after one run of everything, to read or copy; what that run printed is in ``output.txt``.

    Made once for all workers of a test run.
    """
    base = tmp_path_factory.getbasetemp()
    made = clones.Clone((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished")
    with FileLock(f"{made.root}.lock"):
        if not (made.root / "output.txt").exists():
            assert not made.root.exists(), "its run failed in another worker"
            blank.copy(made.root)
            run = made.snakemake()
            assert run.returncode == 0, run.stdout
            (made.root / "output.txt").write_text(run.stdout)
    return made


@pytest.fixture
def clone(finished: clones.Clone, tmp_path: Path) -> clones.Clone:
    """A finished clone of a test's own."""
    return finished.copy(tmp_path / "clone")
