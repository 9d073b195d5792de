"""Every file of a run has the permissions that umask gives: others may read it, or nobody, as the user has it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from unit.stages.conftest import Chain, run


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_permissions_of_a_run(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    for name in ("model", "train.txt", "test.txt"):
        (shutil.copytree if (chain.root / name).is_dir() else shutil.copy)(chain.root / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = os.umask(umask)
    try:
        run(chain._replace(root=tmp_path))
    finally:
        os.umask(before)
    made = list((tmp_path / "out").rglob("*"))
    assert {path.suffix for path in made} >= {".safetensors", ".parquet", ".json", ".lock"}
    for path in made:
        whole = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == whole & ~umask, path
