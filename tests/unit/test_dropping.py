"""Dropped artifacts: their records stay, and what a missing result reads of them is made again, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from clone import Clone, config

from ptqbench.dropping import drop, revive
from ptqbench.manifest import NAME, dropped
from ptqbench.plan import Plan

CELL = "tiny/text/gptq/w4g32"


def plan_of(clone: Clone, **changes: object) -> Plan:
    return Plan({**config(), **changes}, clone.root)


def files(clone: Clone, kind: str) -> list[Path]:
    return [f for f in (clone.root / "results" / kind).rglob("*") if f.suffix == ".safetensors"]


def test_what_is_not_kept_goes_and_its_records_stay(clone: Clone) -> None:
    results, plan = clone.root / "results", plan_of(clone, keep=["packed", "results"])
    sizes = sum(file.stat().st_size for kind in ("statistics", "quantized") for file in files(clone, kind))
    packed = files(clone, "packed")
    assert drop(plan, results) == sizes > 0
    assert files(clone, "statistics") == files(clone, "quantized") == []
    assert files(clone, "packed") == packed != []
    assert all(output.is_file() for output in plan.outputs(results))
    assert plan.damaged(results) == []
    assert drop(plan, results) == 0, "once"
    assert revive(plan, results) == [], "nothing is missing"


def test_everything_is_kept_by_default(clone: Clone) -> None:
    assert drop(plan_of(clone), clone.root / "results") == 0


def test_what_a_missing_result_reads_is_made_again(clone: Clone) -> None:
    results, plan = clone.root / "results", plan_of(clone, keep=["results"])
    drop(plan, results)
    (results / "eval" / CELL / "perplexity.json").unlink()
    wanted = [results / path / NAME for path in (f"packed/{CELL}", f"quantized/{CELL}", "statistics/tiny/text")]
    assert revive(plan, results) == wanted
    assert not any(path.exists() or dropped(path).exists() for path in wanted)
    others = [path for path in plan.outputs(results) if path not in wanted and path.parent.name != CELL]
    assert all(path.is_file() for path in others if path.name == NAME)


def test_what_is_still_to_be_made_keeps_what_it_reads(clone: Clone) -> None:
    """As after a run of some results alone."""
    results, plan = clone.root / "results", plan_of(clone, keep=["results"])
    for folder in ("packed", "quantized"):
        shutil.rmtree(results / folder / CELL)
    (results / "eval" / CELL / "perplexity.json").unlink()
    statistics = files(clone, "statistics")
    assert drop(plan, results) > 0
    assert files(clone, "statistics") == statistics != []
    assert files(clone, "quantized") == files(clone, "packed") == []


def test_a_kept_checkpoint_is_enough_for_a_missing_result(clone: Clone) -> None:
    results, plan = clone.root / "results", plan_of(clone, keep=["packed", "results"])
    drop(plan, results)
    (results / "eval" / CELL / "perplexity.json").unlink()
    assert revive(plan, results) == []
