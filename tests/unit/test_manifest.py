"""Artifacts: written whole or not at all, and found out when they are not what their manifest says."""

from __future__ import annotations

import json
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

from ptqbench.errors import DamagedArtifact, told
from ptqbench.manifest import (
    Verifier,
    atomic,
    begin,
    canonical,
    finish,
    load,
    read_result,
    verify,
    withdraw_damaged,
    withdrawn,
    write_result,
    write_text,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """An artifact of two files."""
    manifest = tmp_path / "artifact/manifest.json"
    folder = begin(manifest)
    files = [folder / "a.bin", folder / "sub/b.bin"]
    for index, file in enumerate(files):
        with atomic(file) as temporary:
            temporary.write_bytes(bytes([index]) * 100)
    finish(manifest, {"key": 1}, {"code.py": "0" * 12}, files, seconds=1.5)
    return manifest


def test_canonical_json_does_not_depend_on_order() -> None:
    assert (
        canonical({"b": [1, None], "a": "é"}) == canonical({"a": "é", "b": [1, None]}) == '{"a":"\\u00e9","b":[1,null]}'
    )


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
    code = f"from pathlib import Path; from unit.test_manifest import limited_write; limited_write(Path({str(file)!r}))"
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


def test_files_are_verified_while_others_are_used(manifest: Path) -> None:
    with Verifier(manifest) as verifier:
        for file in ("a.bin", "sub/b.bin"):
            verifier.check(manifest.parent / file)
    (manifest.parent / "sub/b.bin").write_bytes(b"x" * 100)
    with Verifier(manifest) as verifier:
        verifier.check(manifest.parent / "a.bin")
        with pytest.raises(DamagedArtifact, match=r"sub/b\.bin does not have the recorded sha256"):
            verifier.check(manifest.parent / "sub/b.bin")
    assert withdrawn(manifest).is_file()
    assert not manifest.exists()


def test_a_whole_artifact_verifies(manifest: Path) -> None:
    content = verify(manifest)
    assert content["spec"] == {"key": 1}
    assert content["seconds"] == 1.5
    assert content["files"]["sub/b.bin"]["bytes"] == 100
    assert "torch" in content["versions"]
    assert withdraw_damaged(manifest) is None


def test_beginning_anew_withdraws_the_manifest_and_what_a_killed_process_left(manifest: Path) -> None:
    leftover = manifest.parent / "sub/.b.bin.tmp"
    leftover.write_text("half")
    begin(manifest)
    assert not manifest.exists()
    assert not leftover.exists()


def test_a_flipped_bit_is_found_by_reading(manifest: Path) -> None:
    (manifest.parent / "sub/b.bin").write_bytes(b"\1" * 99 + b"\0")
    assert withdraw_damaged(manifest) is None, "the size is right"
    with pytest.raises(DamagedArtifact, match=r"sub/b\.bin does not have the recorded sha256"):
        verify(manifest)
    assert not manifest.exists()
    assert withdrawn(manifest).exists()


@pytest.mark.parametrize("how", [verify, withdraw_damaged])
def test_a_truncated_file_is_found_without_reading(manifest: Path, how: object) -> None:
    (manifest.parent / "a.bin").write_bytes(b"\0" * 99)
    problem = r"a\.bin has 99 bytes instead of 100: withdrawn, snakemake makes it anew"
    if how is verify:
        with pytest.raises(DamagedArtifact, match=problem):
            verify(manifest)
    else:
        assert withdraw_damaged(manifest).endswith(problem.replace("\\", ""))
    assert not manifest.exists()
    assert withdrawn(manifest).exists()


def test_one_missing_file_is_damage_and_none_left_is_not(manifest: Path) -> None:
    (manifest.parent / "a.bin").unlink()
    assert "a.bin is missing" in withdraw_damaged(manifest)
    withdrawn(manifest).rename(manifest)
    (manifest.parent / "sub/b.bin").unlink()
    assert withdraw_damaged(manifest) is None
    assert not manifest.exists()
    assert not withdrawn(manifest).exists(), "deleted by the user, to be made when it is needed"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\udcff"])
def test_a_manifest_that_is_none(manifest: Path, text: str) -> None:
    manifest.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DamagedArtifact, match=r"manifest\.json (is not JSON|lacks the key 'files')"):
        load(manifest)
    assert not manifest.exists()
    with pytest.raises(DamagedArtifact, match="is missing"):
        load(manifest)


def test_a_new_manifest_ends_the_withdrawal(manifest: Path) -> None:
    (manifest.parent / "a.bin").write_bytes(b"")
    withdraw_damaged(manifest)
    folder = begin(manifest)
    assert withdrawn(manifest).exists(), "still to be made anew if this process is killed"
    (folder / "a.bin").write_bytes(b"\0")
    finish(manifest, {}, {}, [folder / "a.bin"])
    assert not withdrawn(manifest).exists()
    verify(manifest)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        finish(manifest, {}, {}, [], proxy_loss=float("nan"))
    assert not manifest.exists()


def test_results(tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    write_result(file, {"rows": [{"value": 1.0, "stderr": float("nan")}]})
    assert read_result(file)["rows"][0]["value"] == 1.0
    assert withdraw_damaged(file) is None
    file.write_text(json.dumps({"row": []}))
    assert "suite.json lacks the key 'rows'" in withdraw_damaged(file)
    assert not file.exists()
    write_result(file, {"rows": []})
    assert not withdrawn(file).exists()
