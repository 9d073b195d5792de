"""Stages end with one line for a user's mistake, and write nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptqbench.manifest import canonical
from ptqbench.stages import calibrate, prepare


def ended(main, *arguments: object) -> str:
    with pytest.raises(SystemExit) as raised:
        main([str(argument) for argument in arguments])
    assert isinstance(raised.value.code, str)
    assert "\n" not in raised.value.code
    return raised.value.code


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    out = tmp_path / "manifest.json"
    spec = canonical({"name": "m", "path": str(tmp_path / "nowhere"), "trust_remote_code": False})
    assert "error: models.m.path: there is no folder" in ended(prepare.main, "--spec", spec, "--out", out)
    assert not out.exists()


def test_a_model_of_the_hub_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", refuse)
    spec = canonical({"name": "m", "hub": "a/b", "revision": "0" * 40, "trust_remote_code": False})
    line = ended(prepare.main, "--spec", spec, "--out", tmp_path / "manifest.json")
    assert line.startswith(f"error: models.m.hub: cannot fetch a/b@{'0' * 40} (OSError): check the id")


def test_the_corpus_is_named(chain, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("The cat.")
    settings = {"name": "c", "corpus": str(tmp_path / "t.txt"), "samples": 1, "sequence_length": 32, "seed": 0}
    spec = canonical({"model": {"trust_remote_code": False}, "calibration": settings})
    line = ended(calibrate.main, "--spec", spec, "--model", chain.model, "--out", tmp_path / "manifest.json")
    assert line.startswith(f"error: calibration.c.corpus is '{tmp_path}/t.txt': the corpus has ")
    assert "fewer than one sequence_length of 32" in line
    assert not (tmp_path / "manifest.json").exists()
