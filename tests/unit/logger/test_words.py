"""What is said of jobs: times, names, and the lines of progress that the stages write."""

from __future__ import annotations

import pytest

from ptqbench.progress import progress_bar
from snakemake_logger_plugin_ptqbench.words import Step, duration, job_name, last_lines, last_step


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (30, "30 s"),
        (59.7, "1 min"),
        (150, "2 min"),
        (3569, "59 min"),
        (3571, "1 h 00"),
        (4200, "1 h 10"),
        (7199, "2 h 00"),
        (90_000, "25 h 00"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_job_is_named_as_the_report_names_its_cell() -> None:
    cell = {"model": "pocket-llama", "calibration": "wikitext2", "method": "gptq", "scheme": "w4g128"}
    assert job_name("quantize", cell) == "quantize pocket-llama/wikitext2/gptq/w4g128"
    assert job_name("report", {}) == "report"


@pytest.mark.parametrize("what", ["quantize: block", "perplexity of a 1/2: window", "questions of easy_vqa", "run"])
def test_what_stages_write_is_read(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(what, total=7) as advance:
        for _ in range(7):
            advance(1, "of gptq w4g128")
    log = f"loading 1/2\n{capsys.readouterr().err}a warning of a library\n"
    assert last_step(log) == Step(f"{what.rpartition(': ')[2]} 7/7", 0.0)
    assert last_lines(log, 5) == ["loading 1/2", "a warning of a library"]


@pytest.mark.parametrize("log", ["", "\n\n", "error: there is no model\n", "Generating: 12/40 [00:01<00:05]\n"])
def test_other_lines_are_no_progress(log: str) -> None:
    assert last_step(log) is None
