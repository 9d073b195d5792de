"""Artifacts: written whole or not at all, and found out when they are not what their manifest says."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clone import REPOSITORY
from handmade import RESULT

from ptqbench.errors import DamagedArtifact
from ptqbench.manifest import (
    Verifier,
    begin,
    canonical,
    finish,
    key,
    load,
    read_result,
    verify,
    withdraw_damaged,
    write_result,
)
from ptqbench.records import Key, Manifest, Result
from ptqbench.sealed import withdrawn

KEY = key({"key": 1}, {"code.py": "0" * 12})


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """An artifact of two files."""
    manifest = tmp_path / "artifact/manifest.json"
    folder = begin(manifest, KEY)
    files = [folder / "a.bin", folder / "sub/b.bin"]
    for index, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes([index]) * 100)
    finish(manifest, Manifest, KEY, files, seconds=1.5)
    return manifest


def test_canonical_json_does_not_depend_on_order() -> None:
    assert (
        canonical({"b": [1, None], "a": "é"}) == canonical({"a": "é", "b": [1, None]}) == '{"a":"\\u00e9","b":[1,null]}'
    )


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
    assert withdraw_damaged(manifest, Manifest) is None


def test_beginning_anew_withdraws_the_manifest_and_what_a_killed_process_left(manifest: Path) -> None:
    leftover = manifest.parent / "sub/.b.bin.tmp"
    leftover.write_text("half")
    begin(manifest, {**KEY, "spec": {"key": 2}})
    assert not manifest.exists()
    assert not leftover.exists()


def test_what_is_whole_and_fits_is_kept(manifest: Path) -> None:
    before = manifest.stat()
    assert begin(manifest, KEY) is None
    assert (manifest.stat().st_ino, manifest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", Key.__annotations__)
def test_what_follows_from_something_else_is_made_anew(manifest: Path, name: str) -> None:
    assert begin(manifest, {**KEY, name: {"other": "x"}}) == manifest.parent
    assert not manifest.exists()


@pytest.mark.parametrize("damage", [b"", b"\1" * 100, None])
def test_what_fits_and_is_not_whole_is_made_anew(manifest: Path, damage: bytes | None) -> None:
    (manifest.parent / "a.bin").unlink()
    if damage is not None:
        (manifest.parent / "a.bin").write_bytes(damage)
    assert begin(manifest, KEY) == manifest.parent
    assert not manifest.exists()


def test_a_key_names_its_inputs_by_what_they_hold(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a")
    first = key({}, {}, [str(tmp_path / "text.txt"), "wikitext2"], model=manifest, statistics=None)
    assert list(first["inputs"]) == ["model"]
    assert list(first["sources"]) == [str(tmp_path / "text.txt")]
    finish(manifest, Manifest, KEY, [manifest.parent / "a.bin", manifest.parent / "sub/b.bin"], seconds=2.5)
    assert key({}, {}, first["sources"], model=manifest) == first, "the same bytes in another time"
    (tmp_path / "text.txt").write_text("b")
    assert key({}, {}, first["sources"], model=manifest)["sources"] != first["sources"]
    (manifest.parent / "a.bin").write_bytes(b"other")
    finish(manifest, Manifest, KEY, [manifest.parent / "a.bin"])
    assert key({}, {}, model=manifest)["inputs"] != first["inputs"]


def test_a_flipped_bit_is_found_by_reading(manifest: Path) -> None:
    (manifest.parent / "sub/b.bin").write_bytes(b"\1" * 99 + b"\0")
    assert withdraw_damaged(manifest, Manifest) is None, "the size is right"
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
        assert withdraw_damaged(manifest, Manifest).endswith(problem.replace("\\", ""))
    assert not manifest.exists()
    assert withdrawn(manifest).exists()


def test_one_missing_file_is_damage_and_none_left_is_not(manifest: Path) -> None:
    (manifest.parent / "a.bin").unlink()
    assert "a.bin is missing" in withdraw_damaged(manifest, Manifest)
    withdrawn(manifest).rename(manifest)
    (manifest.parent / "sub/b.bin").unlink()
    assert withdraw_damaged(manifest, Manifest) is None
    assert not manifest.exists()
    assert not withdrawn(manifest).exists(), "deleted by the user, to be made when it is needed"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\udcff"])
def test_a_manifest_that_is_none(manifest: Path, text: str) -> None:
    manifest.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DamagedArtifact, match=r"manifest\.json has no digest of its content: earlier code"):
        load(manifest)
    assert not manifest.exists()
    with pytest.raises(DamagedArtifact, match="is missing"):
        load(manifest)


def test_a_new_manifest_ends_the_withdrawal(manifest: Path) -> None:
    (manifest.parent / "a.bin").write_bytes(b"")
    withdraw_damaged(manifest, Manifest)
    folder = begin(manifest, KEY)
    assert withdrawn(manifest).exists(), "still to be made anew if this process is killed"
    (folder / "a.bin").write_bytes(b"\0")
    finish(manifest, Manifest, KEY, [folder / "a.bin"])
    assert not withdrawn(manifest).exists()
    verify(manifest)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        finish(manifest, Manifest, KEY, [], proxy_loss=float("nan"))
    assert not manifest.exists()


def test_results(tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    row = {"task": "t", "metric": "m", "value": 1.0, "stderr": math.nan, "n": 3}
    content = {**RESULT, "backend": "b", "export": "e"}
    write_result(file, {**content, "rows": [row]})
    assert read_result(file)["rows"][0]["value"] == 1.0
    assert withdraw_damaged(file, Result) is None
    file.write_text(file.read_text().replace('"value": 1.0', '"value": 9.0'))
    assert "suite.json is not what was written" in withdraw_damaged(file, Result)
    assert not file.exists()
    write_result(file, {**content, "rows": []})
    assert not withdrawn(file).exists()
    with pytest.raises(TypeError, match=r"rows\.0 lacks the key 'n'"):
        write_result(file, {**content, "rows": [{name: row[name] for name in row if name != "n"}]})


def test_a_second_process_keeps_what_the_first_made(tmp_path: Path) -> None:
    """An orphan that gets its turn late leaves the manifest where readers have it; for another key it does not."""
    code = (
        "import sys; from pathlib import Path; from ptqbench.manifest import begin, finish, key\n"
        "from ptqbench.records import Manifest\n"
        "made = key({'key': int(sys.argv[2])}, {})\n"
        "print('waits', flush=True); folder = begin(Path(sys.argv[1]), made); print(folder, flush=True)\n"
        "sys.stdin.readline()\n"
        "if folder: finish(Path(sys.argv[1]), Manifest, made, [])\n"
    )
    out = tmp_path / "artifact/manifest.json"

    def start(number: int) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(out), str(number)], env=environment, text=True, **pipes
        )
        assert process.stdout.readline() == "waits\n"
        return process

    first = start(1)
    assert first.stdout.readline() == f"{out.parent}\n"
    orphan = start(1)
    first.communicate("\n")
    before = out.stat()
    assert orphan.communicate("\n")[0] == "None\n"
    assert orphan.returncode == 0
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    other = start(2)
    assert other.communicate("\n")[0] == f"{out.parent}\n"
    assert load(out)["spec"] == {"key": 2}
