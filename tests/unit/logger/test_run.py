"""Counts and the time left: what the same jobs took, over how many run at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_logger_plugin_ptqbench.rates import blended, read_rates, write_rates
from snakemake_logger_plugin_ptqbench.run import Job, Run
from snakemake_logger_plugin_ptqbench.words import Step


def job(rule: str, begun: float, name: str = "") -> Job:
    return Job(name or rule, rule, (), begun)


def started(**known: float) -> Run:
    run = Run(known=known)
    run.plan({"quantize": 4, "report": 1, "total": 5}, now=0.0)
    return run


def test_nothing_is_claimed_while_nothing_is_known() -> None:
    assert started().line(0.0, {}) == "0 of 5"


def test_earlier_runs_tell_at_once() -> None:
    assert started(quantize=60.0, report=10.0).line(0.0, {}) == "0 of 5 · about 4 min left"  # 250 s


def test_jobs_of_this_run_tell_more_than_those_of_earlier_ones() -> None:
    run = started(quantize=1000.0, report=10.0)
    run.start(1, job("quantize", 0.0))
    run.finish(1, 20.0)
    assert run.left(20.0, {}) == pytest.approx(3 * 20 + 10)


def test_jobs_that_run_at_once_share_the_time() -> None:
    run = started(quantize=100.0, report=0.0)
    run.start(1, job("quantize", 0.0))
    run.start(2, job("quantize", 0.0))
    assert run.left(50.0, {}) == pytest.approx((2 * 50 + 2 * 100) / 2)


def test_a_job_that_tells_how_far_it_is_knows_best() -> None:
    run = started(quantize=1.0, report=0.0)
    run.waiting = {}
    run.start(1, job("quantize", 0.0, "quantize m/c/gptq/w4"))
    steps = {1: Step("block 8/32", 30.0)}
    assert run.left(10.0, steps) == 30.0
    assert run.job_lines(10.0, steps) == ["quantize m/c/gptq/w4 · block 8/32 · 30 s left"]
    assert run.job_lines(10.0, {}) == ["quantize m/c/gptq/w4 · 10 s"]


def test_a_failure_is_counted_until_the_job_is_tried_again_and_done() -> None:
    run = started()
    run.start(1, job("quantize", 0.0))
    run.fail(1)
    assert run.line(0.0, {}) == "0 of 5 · 1 failed"
    run.start(1, job("quantize", 1.0))
    run.finish(1, 2.0)
    assert run.line(2.0, {}).startswith("1 of 5 · about")


def test_the_end_has_no_time_left() -> None:
    run = started()
    for number, rule in enumerate(["quantize"] * 4 + ["report"]):
        run.start(number, job(rule, 0.0))
        run.finish(number, 1.0)
    assert run.line(5.0, {}) == "5 of 5"


def test_rates_are_kept_and_follow_what_jobs_take_now(tmp_path: Path) -> None:
    file = tmp_path / "rates.json"
    assert read_rates(file) == {}
    write_rates(file, blended({"quantize": 10.0, "export": 2.0}, {"quantize": [20.0, 20.0], "report": [3.0]}))
    assert read_rates(file) == {"export": 2.0, "quantize": pytest.approx(13.0), "report": 3.0}
    assert [found.name for found in tmp_path.iterdir()] == ["rates.json"]


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"quantize": "soon"}', '{"quantize": null}', "\x00"])
def test_a_damaged_file_of_rates_is_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "rates.json"
    file.write_text(content)
    assert read_rates(file) == {}
