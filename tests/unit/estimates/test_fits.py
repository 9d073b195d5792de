"""A plan that does not fit is refused before work, with what would; the whole takes what its jobs take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptqbench.errors import UserError
from ptqbench.estimates.fits import Machine, check, seconds, table, total
from ptqbench.estimates.jobs import Job
from ptqbench.estimates.needs import CPU, Need
from ptqbench.estimates.rates import Took, machine

HERE = Machine(gpus=0, cores=2, at_once=2, gpu_memory=None, memory=8 * 10**9, free=10**9)
GPU_HOST = Machine(gpus=1, cores=16, at_once=1, gpu_memory=80 * 10**9, memory=10**12, free=10**12)


def job(rule: str = "quantize", what: str = "gptq", **need: float) -> Job:
    return Job(rule, "big", what, Path("none"), Need(**{"start": 1.0, **need}))


def test_what_fits_is_let_through() -> None:
    check([job(disk=9e8, host=8e9)], HERE)
    check([job(gpu=80e9)], GPU_HOST)


def test_a_full_disk_is_told_before_work() -> None:
    with pytest.raises(
        UserError, match=r"about 2\.5 GB of disk \(2 GB of it for statistics\), and 1 GB are free: make"
    ):
        check([job("statistics", "", disk=2e9), job(disk=5e8)], HERE)


def test_a_cell_that_is_too_large_for_the_gpu_names_those_that_are_not() -> None:
    jobs = [job(what="omniquant", gpu=100e9), job(what="gptq", gpu=20e9), job(what="awq", gpu=10e9)]
    with pytest.raises(
        UserError, match=r"omniquant of model 'big' needs about 100 GB of GPU memory.*gptq, awq would fit"
    ):
        check(jobs, GPU_HOST)


def test_a_model_that_is_too_large_to_evaluate_on_one_gpu() -> None:
    with pytest.raises(UserError, match=r"models\.big\.gpus"):
        check([job("evaluate", "perplexity", gpu=141e9)], GPU_HOST)


def test_memory_of_the_host() -> None:
    with pytest.raises(UserError, match=r"needs about 9 GB of memory, and there are 8 GB"):
        check([job(host=9e9)], HERE)


def test_the_whole_is_no_faster_than_its_longest_chain_nor_than_its_jobs_together() -> None:
    chain = [job("statistics", ""), job("quantize"), job("evaluate", "perplexity")]
    assert total(chain, [10.0, 20.0, 30.0], HERE) == 60.0
    assert total([job()] * 8, [10.0] * 8, HERE) == 40.0
    other = Job("evaluate", "small", "", Path("none"), Need(1.0))
    assert total([*chain, other], [10.0, 20.0, 30.0, 40.0], HERE) == 60.0, "another model's job is in no such chain"
    assert total([], [], HERE) == 0.0


def test_times_go_by_what_such_jobs_took_here() -> None:
    jobs = [job(operations=CPU.rate * 100.0)]
    assert seconds(jobs, HERE, []) == [pytest.approx(101.0)]
    ran = [Took(machine(), False, "quantize", "gptq", 1.0, 200.0, 401.0)]
    assert seconds(jobs, HERE, ran) == [pytest.approx(201.0)]


def test_the_table_has_a_line_for_each_rule_model_and_method() -> None:
    jobs = [job(disk=1e6, host=2e9), job(disk=2e6, host=1e9), job(what="awq", gpu=5e9)]
    head, gptq, awq = table(jobs, [10.0, 20.0, 30.0])
    assert head.split()[:3] == ["rule", "jobs", "time"]
    assert gptq.split() == ["quantize", "big", "gptq", "2", "15", "s", "–", "2", "GB", "3", "MB"]
    assert awq.split() == ["quantize", "big", "awq", "1", "30", "s", "5", "GB", "0", "B", "0", "B"]
