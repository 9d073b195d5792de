"""The SLURM profile, with Snakemake's own plugin against stand-ins for SLURM's commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import fake_slurm
import pytest
import yaml
from clone import TEST, Clone, make, one_cell

FLOAT = "results/eval/tiny/none/float/float/perplexity.json"
PRESET = {**one_cell(), "suites": {"perplexity": {"kind": "perplexity", "corpora": {"other": TEST}, "limit": 2}}}


@pytest.fixture
def cluster(tmp_path: Path) -> tuple[Clone, dict[str, str]]:
    clone = make(tmp_path / "clone")
    folder = fake_slurm.install(tmp_path / "slurm")
    (clone.root / "preset.yaml").write_text(yaml.safe_dump(PRESET, sort_keys=False))
    return clone, {"PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])}


def submit(cluster: tuple[Clone, dict[str, str]], *targets: str, **variables: str) -> str:
    clone, path = cluster
    profile = ["--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1"]
    preset = ["--retries", "0", "--latency-wait", "2", "--configfile", "preset.yaml", "--replace-workflow-config"]
    return clone.snakemake(*targets, *profile, *preset, **path, **variables).stdout


def test_jobs_of_a_cluster_run_the_preset_and_ask_for_their_gpus(
    cluster: tuple[Clone, dict[str, str]], tmp_path: Path
) -> None:
    """The preset replaces config.yaml in the jobs too: else their corpora would be those of both."""
    output = submit(cluster, FLOAT)
    result = json.loads((cluster[0].root / FLOAT).read_text())
    assert set(result["spec"]["suite"]["corpora"]) == {"other"}, output
    gpus = {file.stem: file.read_text() for file in (tmp_path / "slurm/jobs").glob("*.gpus")}
    assert sorted(gpus.values()) == ["0", "1"]  # the export and the evaluation


def test_a_cluster_that_keeps_the_environment_back_is_told_so(cluster: tuple[Clone, dict[str, str]]) -> None:
    output = submit(cluster, FLOAT, FAKE_SLURM_EXPORT="NONE")
    assert "Exiting because a job execution failed" in output
    (log,) = cluster[0].root.glob(".snakemake/slurm_logs/rule_export_float/*/*.log")
    assert "the variable PTQBENCH_CONFIG did not reach this job" in log.read_text()
    assert "sbatch --export=ALL" in log.read_text()
