"""The stage with a server: its result, and the line it ends with when the server does."""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import TESTS, alive, fake_environment, started

from ptqbench import spec
from ptqbench.evaluation import server
from ptqbench.manifest import canonical
from ptqbench.stages import evaluate

CELL = ("tiny", "text", "gptq", "w3g32")


@pytest.fixture
def served(chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of the stage for one suite, on the server of ``fake_vllm.py``."""
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(server, "LIMITS", replace(server.LIMITS, pause=0.2, request=5.0))
    config = deepcopy(chain.config)
    config["suites"]["ppl"] |= {"backend": "vllm-cpu", "batch_size": 2}
    config["schemes"]["w3g32"]["format"] = "dense"
    asks = spec.evaluate_spec(config, *CELL, "ppl")
    asks["serves"] = {"compressed_tensors": ["--told", "by-the-table"]}  # the format of the chain's checkpoint
    marker = fake_environment(tmp_path / "environment")
    paths = ["--checkpoint", chain.packed, "--server", marker, "--server-log", tmp_path / "server.log"]
    return ["--spec", canonical(asks), "--out", str(tmp_path / "ppl.json"), *map(str, paths)]


def result(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "ppl.json").read_text())


def nothing_left(tmp_path: Path) -> bool:
    return not any(map(alive, started(tmp_path / "pids")))


def test_a_served_suite(served: list[str], tmp_path: Path) -> None:
    evaluate.main(served)
    found = result(tmp_path)
    assert (found["backend"], found["export"], found["server"]) == ("vllm-cpu", "compressed_tensors", "vllm 0.0.fake")
    assert {row["metric"] for row in found["rows"]} == {"perplexity", "bits_per_byte"}
    assert "src/ptqbench/evaluation/backends/vllm.py".removeprefix("src/") in found["code"]
    assert "ptqbench/evaluation/backends/transformers.py" not in found["code"]
    log = (tmp_path / "server.log").read_text()
    assert "'--told', 'by-the-table'" in log
    assert nothing_left(tmp_path)


def test_a_servers_environment_is_in_the_key_where_a_server_runs(chain, tmp_path: Path) -> None:
    """Not where the choice table gives the suite to transformers, whatever was asked."""
    marker = fake_environment(tmp_path / "environment")
    config = {**deepcopy(chain.config), "backend": "vllm-cpu"}
    for model_type, inputs in (("llama", {"checkpoint", "server"}), ("mamba", {"checkpoint"})):
        asks = spec.evaluate_spec(config, *CELL, "ppl", model_type)
        args = Namespace(spec=asks, checkpoint=chain.packed, reference=None, server=marker)
        assert set(evaluate.what_made(args)["inputs"]) == inputs


@pytest.mark.parametrize("mode", ["dies-loading", "lacks-tensor", "out-of-memory", "dies-in-use", "port-taken"])
def test_a_fault_is_one_line_and_no_result(
    served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("FAKE_VLLM", mode)
    with pytest.raises(SystemExit) as raised:
        evaluate.main(served)
    assert str(raised.value.code).startswith("error: the server of ")
    assert "\n" not in str(raised.value.code)
    assert not (tmp_path / "ppl.json").exists()
    assert nothing_left(tmp_path)
    monkeypatch.setenv("FAKE_VLLM", "")
    (tmp_path / "pids").unlink()
    evaluate.main(served)
    assert result(tmp_path)["rows"]


def test_a_format_that_the_backend_does_not_read(served: list[str], tmp_path: Path) -> None:
    asks = json.loads(served[1])
    asks["serves"] = {"dense": []}
    with pytest.raises(SystemExit) as raised:
        evaluate.main(["--spec", canonical(asks), *served[2:]])
    assert str(raised.value.code) == (
        "error: suites.ppl.backend is 'vllm-cpu', which does not read compressed_tensors, the format of this cell: "
        "give scheme 'w3g32' a format, one of dense"
    )
    assert not started(tmp_path / "pids")


def test_a_gpu_host_whose_python_has_vllm(
    served: list[str], chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment of its own and no script `vllm`: this Python's module serves, on the GPU that the stage holds."""
    main = tmp_path / "site/vllm/entrypoints/cli"
    main.mkdir(parents=True)
    (main / "main.py").write_text(
        f"import runpy\nrunpy.run_path({str(TESTS / 'fake_vllm.py')!r}, run_name='__main__')\n"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA H200'\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    asks = {**json.loads(served[1]), "backend": "vllm-cuda"}
    log = ["--server-log", str(tmp_path / "server.log")]
    evaluate.main(["--spec", canonical(asks), *served[2:4], "--checkpoint", str(chain.packed), "--server", *log])
    found = result(tmp_path)
    assert (found["backend"], found["device"], found["server"]) == ("vllm-cuda", "NVIDIA H200", "vllm 0.0.fake")
    assert "--told" in (tmp_path / "server.log").read_text()
    assert nothing_left(tmp_path)
