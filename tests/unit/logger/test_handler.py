"""Snakemake's events as lines, where there is no terminal."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_ptqbench import LogHandler
from snakemake_logger_plugin_ptqbench.handler import told
from snakemake_logger_plugin_ptqbench.run import Job
from snakemake_logger_plugin_ptqbench.words import Step

WILDCARDS = {"model": "m", "calibration": "c", "method": "gptq", "scheme": "w4"}


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    return tmp_path


def handler(**changed: Any) -> LogHandler:
    settings = {"stdout": False, "nocolor": False, "dryrun": False, "printshellcmds": False, "verbose": False}
    made = LogHandler(SimpleNamespace(**{**settings, **changed}), None)
    made.setFormatter(DefaultFormatter())
    return made


def send(to: LogHandler, event: LogEvent | None, message: str = "", level: int = logging.INFO, **fields: Any) -> None:
    record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    record.__dict__.update(event=event, **fields)
    to.handle(record)


def job(to: LogHandler, number: int, created: float = 0.0, log: str = "", **fields: Any) -> None:
    fields = {"rule_name": "quantize", "wildcards": WILDCARDS, "reason": "Missing output files: x", **fields}
    send(to, LogEvent.JOB_INFO, jobid=number, created=created, log=[log] if log else [], **fields)


def test_a_run(capsys: pytest.CaptureFixture[str], working_directory: Path) -> None:
    log = working_directory / "quantize.log"
    log.write_text("a library's warning\nquantize: block 1/2 of gptq w4 about 1 s remain\nerror: no space is left\n")
    made = handler()
    send(made, None, "Building DAG of jobs...")
    send(made, LogEvent.WORKFLOW_STARTED, "Workflow has started!")
    send(made, LogEvent.RUN_INFO, "Job stats:", stats={"quantize": 3, "total": 3}, created=0.0)
    for number in (1, 2):
        job(made, number, log=str(log))
    send(made, LogEvent.JOB_FINISHED, job_id=1, created=12.0)
    send(made, LogEvent.JOB_ERROR, rule_name="quantize", jobid=2, log=[str(log)], shellcmd="python -m …")
    send(made, None, "Disk is nearly full", logging.WARNING)
    send(made, None, "Exiting because a job execution failed. Look above for error messages", logging.ERROR)
    made.close()
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines[:1] == ["3 jobs: 3 quantize"]
    assert lines[1].startswith("1 of 3 · about ")
    assert lines[1].endswith(" left · quantize m/c/gptq/w4 · took 12 s")
    name = "failed  quantize m/c/gptq/w4"
    assert lines[2:] == [
        *[name, f"  {log}:", "    a library's warning", "    error: no space is left"],
        "Disk is nearly full",
        lines[-1],
    ]
    assert lines[-1].startswith("1 of 3 jobs done in ")
    assert last == name
    assert json.loads((working_directory / ".snakemake/ptqbench-rates.json").read_text()) == {"quantize": 12.0}


def test_a_dry_run_is_one_table(capsys: pytest.CaptureFixture[str], working_directory: Path) -> None:
    made = handler(dryrun=True, stdout=True)
    send(made, LogEvent.RUN_INFO, "Job stats:", stats={"quantize": 2, "total": 2})
    for number in range(2):
        job(made, number)
        send(made, LogEvent.JOB_FINISHED, job_id=number)
    send(made, LogEvent.RUN_INFO, "Job stats:", stats={"quantize": 2, "total": 2})
    send(made, None, "This was a dry-run (flag -n). The order of jobs does not reflect the order of execution.")
    made.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["rule      model  jobs  why", "quantize  m         2  not made yet", "total               2"]
    assert not list((working_directory / ".snakemake").iterdir())


def test_nothing_to_do_and_what_snakemake_says_otherwise_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    made = handler()
    send(made, None, "Nothing to be done (all requested files are present and up to date).")
    send(made, None, "Unlocked working directory.")
    send(made, LogEvent.ERROR, "LockException:\nanother run has it", logging.ERROR, exception="LockException")
    made.close()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Nothing to be done")
    assert said[1:] == ["Unlocked working directory.", "LockException:", "another run has it"]


def test_a_second_close_says_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    made = handler(dryrun=True, stdout=True)
    job(made, 1)
    made.close()
    capsys.readouterr()
    made.close()
    assert capsys.readouterr().out == ""


def test_seconds_left_go_on_between_two_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("quantize: block 8/32 of gptq w4 about 30 s remain\n")
    written = log.stat().st_mtime
    assert told(Job("", "", (str(log),), written - 5), written + 4) == Step("block 8/32", pytest.approx(26.0))
    assert told(Job("", "", (str(log),), written - 5), written + 99) == Step("block 8/32", 0.0)
    assert told(Job("", "", (str(log),), written + 60), written + 61) is None, "the log of an earlier run"
    assert told(Job("", "", (str(tmp_path / "none.log"),), 0.0), 1.0) is None
