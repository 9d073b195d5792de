"""Memory of a server: on a GPU from vLLM's log and the driver, on a CPU from the kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ptqbench.evaluation.memory import GIB, device_name, server_memory

LOG = """\
(EngineCore pid=7) INFO 11-23 08:05:45 [model_runner.py:306] Model loading took 1.50 GiB and 2.1 seconds
(EngineCore pid=7) INFO 11-23 08:05:45 [gpu_worker.py:561] Available KV cache memory: 100.25 GiB
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ``nvidia-smi`` that shows what it was asked."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\ncase "$*" in\n*=name*-i\\ 3) echo NVIDIA H200;;\n*memory.used*-i\\ 3) echo 104448;;\n'
        '*=name*-i\\ 3,5) printf "NVIDIA H200\\nNVIDIA H200\\n";;\n'
        '*memory.used*-i\\ 3,5) printf "104448\\n103424\\n";;\nesac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")


@pytest.mark.usefixtures("driver")
def test_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOG)
    found = server_memory("cuda", tmp_path / "log", tmp_path, 0)
    assert found == {"weights": 1.5 * GIB, "peak": 102 * GIB - 100.25 * GIB}
    assert device_name("cuda") == "NVIDIA H200"


@pytest.mark.usefixtures("driver")
def test_two_gpus_that_share_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    (tmp_path / "log").write_text(LOG)
    found = server_memory("cuda", tmp_path / "log", tmp_path, 0)
    assert found == {"weights": 3 * GIB, "peak": 203 * GIB - 200.5 * GIB}
    assert device_name("cuda") == "2 x NVIDIA H200"


def test_a_cpu(tmp_path: Path) -> None:
    for name, size in (("model-1.safetensors", 1000), ("model-2.safetensors", 500), ("old.safetensors", 7)):
        (tmp_path / name).write_bytes(b"1" * size)
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = server_memory("cpu", tmp_path / "log", tmp_path, os.getppid())
    assert found["weights"] == 1500
    assert found["peak"] > 10 * 2**20, "this process is below its parent"
    assert device_name("cpu") == "cpu"
