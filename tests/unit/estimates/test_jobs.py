"""The jobs of a plan are those of its outputs, and what a finished run left on disk is what was expected of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import Clone

from ptqbench.estimates.fits import machine
from ptqbench.estimates.host import expected, waiting
from ptqbench.estimates.jobs import Job, jobs, left, sizes
from ptqbench.estimates.needs import CPU
from ptqbench.evaluation import runtime
from ptqbench.plan import Plan

ROOT = Path(__file__).parents[3]
HEADERS = 12_000  # bytes of the headers of a small checkpoint's files


def plan_of(config: dict[str, Any], root: Path) -> Plan:
    runtime.settle(config, ROOT)
    return Plan(config, root, workflow=ROOT)


def test_every_output_of_the_default_plan_has_its_job() -> None:
    plan = plan_of(yaml.safe_load((ROOT / "config.yaml").read_text()), ROOT)
    found = [job.output for job in jobs(plan, Path("results"), CPU, sizes(plan))]
    assert len(found) == len(set(found))
    assert set(found) == set(plan.outputs(Path("results"))) - {Path("results/plan.json")}


def test_a_finished_run_took_the_disk_that_was_expected(finished: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.root)
    plan = plan_of(yaml.safe_load(Path("config.yaml").read_text()), Path())
    every = list(jobs(plan, Path("results"), CPU, sizes(plan)))
    assert left(iter(every)) == waiting(plan, Path("results"), machine(Path())) == []
    assert list(expected(plan, Path("results"))) == []
    for rule in ("statistics", "quantize", "export"):
        for job in (one for one in every if one.rule == rule and one.need.disk):
            assert stored(job) == pytest.approx(job.need.disk, rel=0.1, abs=HEADERS), job.output


def stored(job: Job) -> int:
    files = [file for file in job.output.parent.rglob("*") if file.is_file() and file.name != "manifest.json"]
    return sum(file.stat().st_size for file in files)
