"""The embedded models where a vLLM for the CPU stands: apart from its other tests, so that both run side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clone import REPOSITORY, Clone, jobs, one_cell

pytestmark = pytest.mark.timeout(1800)


def test_a_cell_of_every_embedded_model(marker: Path, blank: Clone, tmp_path: Path) -> None:
    """In one run with `backend: vllm`: its environment is made, those that vLLM has not are evaluated by transformers,
    and none is refused; one of them by lm-eval too, against its server.
    """
    clone = blank.copy(tmp_path / "clone")
    folders = sorted(file.parent for file in REPOSITORY.glob("resources/models/*/config.json"))
    config = one_cell() | {"backend": "vllm", "models": {folder.name: {"path": str(folder)} for folder in folders}}
    config["schemes"] = {"w3g128": {"bits": 3, "group_size": 128}}
    config["suites"]["perplexity"] |= {"window": 64, "limit": 2}
    config["grid"] = [
        {"models": [*config["models"]], "methods": ["rtn"], "schemes": ["w3g128"], "suites": ["perplexity"]},
        {"models": ["pocket-llama"], "methods": ["rtn"], "schemes": ["w3g128"], "suites": ["pairs"]},
    ]
    clone.configure(config)
    cells = [f"results/eval/{folder.name}/text/rtn/w3g128/perplexity.json" for folder in folders]
    pairs = "results/eval/pocket-llama/text/rtn/w3g128/pairs.json"
    run = clone.snakemake(*cells, pairs)  # and not their float models, at half the price
    assert run.returncode == 0, run.stdout
    assert ("serve_environment", "cpu") in jobs(run.stdout)
    result = json.loads((clone.root / pairs).read_text())
    assert (result["backend"], result["server"]) == ("vllm-cpu", "vllm 0.30.0")
    assert [row["n"] for row in result["rows"] if row["metric"] == "acc"] == [4]
    ran = {}
    for folder, cell in zip(folders, cells, strict=True):
        result = json.loads((clone.root / cell).read_text())
        assert result["backend"] == result["spec"]["backend"]
        assert f"ptqbench/evaluation/backends/{result['backend'].partition('-')[0]}.py" in result["code"]
        ran[folder.name] = result["backend"]
    assert [name for name, backend in ran.items() if backend == "vllm-cpu"] == ["pocket-llama", "pocket-mixtral"]
    assert clone.stale(*cells, pairs) == set()
