"""Rates that a machine learns: from jobs that it ran, each part from jobs that tell of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptqbench.estimates.rates import KEPT, Scale, Took, machine, note, read, scale


def took(start: float, work: float, seconds: float, rule: str = "quantize", what: str = "gptq", **rest: Any) -> Took:
    place = {"machine": machine(), "gpu": False, **rest}
    return Took(**place, rule=rule, what=what, start=start, work=work, seconds=seconds)


def test_no_job_leaves_the_defaults() -> None:
    assert scale([], "quantize", "gptq", gpu=False) == Scale(1.0, 1.0)


def test_each_part_is_learned_from_the_jobs_that_are_mostly_that() -> None:
    """A machine that starts jobs in three times, and works twice as long as, the defaults."""
    jobs = [took(4.0, work, 3 * 4.0 + 2 * work) for work in (0.0, 0.0, 1000.0, 2000.0)]
    found = scale(jobs, "quantize", "gptq", gpu=False)
    assert found.start == pytest.approx(3.0)
    assert found.work == pytest.approx(2.0)


def test_a_method_that_never_ran_takes_the_rule_s_rates() -> None:
    jobs = [took(1.0, 100.0, 201.0, what="gptq"), took(1.0, 100.0, 501.0, what="autoround")]
    assert scale(jobs, "quantize", "autoround", gpu=False).work == pytest.approx(5.0)
    assert scale(jobs, "quantize", "awq", gpu=False).work == pytest.approx(3.5)
    assert scale(jobs, "quantize", "gptq", gpu=True) == Scale()
    assert scale(jobs, "export", "", gpu=False) == Scale()


def test_jobs_are_kept_by_machine_and_the_oldest_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "cache/took.jsonl"
    assert read(file) == []
    note(file, [took(1.0, 0.0, float(i)) for i in range(KEPT)])
    note(file, [took(1.0, 0.0, -1.0), took(1.0, 0.0, -2.0, machine="another")])
    found = read(file)
    assert len(found) == KEPT - 1
    assert (found[0].seconds, found[-1].seconds) == (2.0, -1.0)


@pytest.mark.parametrize("content", ["{", '{"a": 1}\n', "[]\n", "\xff"])
def test_a_file_that_says_something_else_is_done_without(tmp_path: Path, content: str) -> None:
    file = tmp_path / "took.jsonl"
    file.write_text(content, encoding="latin-1")
    assert read(file) == []
