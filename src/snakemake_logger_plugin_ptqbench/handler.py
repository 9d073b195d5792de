"""Snakemake's events as lines: one for each job that runs, one for the run, errors in full."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_ptqbench.rates import blended, read_rates, write_rates
from snakemake_logger_plugin_ptqbench.run import Job, Run
from snakemake_logger_plugin_ptqbench.screen import Screen
from snakemake_logger_plugin_ptqbench.table import Planned, planned, table
from snakemake_logger_plugin_ptqbench.words import Step, duration, job_name, last_lines, last_step

STATE = Path(".snakemake")  # of the working directory, which Snakemake has entered when a run begins
RATES = "ptqbench-rates.json"
TAIL_BYTES, TAIL_LINES = 1 << 14, 20
# what Snakemake says of every run, and what this display says otherwise; its own log has it all
USUAL = (
    "Assuming unrestricted shared filesystem",
    "Using shell:",
    "Select jobs to execute",
    "Building DAG of jobs",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Elapsed time",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
    "Some jobs were triggered by provenance",
    "Rules with provenance triggered",
    "Reasons:",
    "    (check individual jobs",
    "This was a dry-run",
    "The run involves checkpoint",
    "DAG of jobs will be updated",
    "Shutting down, this might take some time",
)


class LogHandler(LogHandlerBase):
    """What ``snakemake --logger ptqbench`` shows."""

    writes_to_stream, writes_to_file = True, False
    has_filter, has_formatter, needs_rulegraph = False, False, False

    def __post_init__(self) -> None:
        self.run, self.dry = Run(), list[Planned]()
        settings = self.common_settings
        self.screen = Screen(self._below, stdout=settings.stdout, color=not settings.nocolor)
        handlers: dict[LogEvent | None, Callable[[Any], None]] = {
            LogEvent.RUN_INFO: self._planned,
            LogEvent.JOB_INFO: self._job,
            LogEvent.JOB_FINISHED: self._finished,
            LogEvent.JOB_ERROR: self._failed,
        }
        silent = (LogEvent.WORKFLOW_STARTED, LogEvent.JOB_STARTED, LogEvent.PROGRESS, LogEvent.RESOURCES_INFO)
        self.handlers = handlers | dict.fromkeys(silent, lambda record: None)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one event; an error of ours is reported by logging and does not end the run."""
        try:
            self.handlers.get(getattr(record, "event", None), self._other)(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """The end of the run: the table of a dry run, or how it went, and what its jobs took for the next one."""
        if not self.screen.stopped.is_set():
            self.screen.end()
            if self.dry:
                self.screen.say(*table(self.dry))
            elif self.run.total and (self.run.done or self.run.failed):
                self._end()
        super().close()

    def _end(self) -> None:
        took = f"{self.run.done} of {self.run.total} jobs done in {duration(time.time() - self.run.begun)}"
        self.screen.say(took)
        if names := [job.name for job in self.run.failed]:
            self.screen.say(*(f"failed  {name}" for name in dict.fromkeys(names)), style="red")
        if STATE.is_dir():
            write_rates(STATE / RATES, blended(self.run.known, self.run.taken))

    def _planned(self, record: Any) -> None:
        if self.common_settings.dryrun or self.run.total:
            return
        self.run.known = read_rates(STATE / RATES)
        self.run.plan(record.stats, record.created)
        jobs = ", ".join(f"{count} {rule}" for rule, count in self.run.waiting.items())
        self.screen.say(f"{self.run.total} jobs: {jobs}")
        self.screen.begin()

    def _job(self, record: Any) -> None:
        if self.common_settings.dryrun:
            self.dry.append(planned(record.rule_name, record.wildcards, record.reason))
            return
        name = job_name(record.rule_name, record.wildcards)
        self.run.start(record.jobid, Job(name, record.rule_name, tuple(map(str, record.log)), record.created))

    def _finished(self, record: Any) -> None:
        if (done := self.run.finish(record.job_id, record.created)) is not None:
            job, seconds = done
            took = f"{job.name} · took {duration(seconds)}"
            self.screen.say(took if self.screen.console.is_terminal else f"{self._below()[-1]} · {took}")

    def _failed(self, record: Any) -> None:
        job = self.run.fail(record.jobid)
        name = job.name if job else record.rule_name
        self.screen.say(f"failed  {name}", style="bold red")
        if record.shellcmd and self.common_settings.printshellcmds:
            self.screen.say(record.shellcmd)
        for log in map(Path, record.log):
            lines = last_lines(tail(log), TAIL_LINES)
            if lines:
                self.screen.say(f"  {log}:", *(f"    {line}" for line in lines))

    def _other(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text in ("", "None") or (text.lstrip("\n").startswith(USUAL) and not self.common_settings.verbose):
            return
        styles = {logging.ERROR: "red", logging.CRITICAL: "red", logging.WARNING: "yellow"}
        self.screen.say(*text.strip("\n").split("\n"), style=styles.get(record.levelno, ""))

    def _below(self) -> list[str]:
        now = time.time()
        steps = {number: step for number, job in list(self.run.running.items()) if (step := told(job, now))}
        return [*self.run.job_lines(now, steps), self.run.line(now, steps)]


def told(job: Job, now: float) -> Step | None:
    """How far a job says that it is in its logs; its seconds go on to count down between two lines."""
    for log in map(Path, job.logs):
        if (step := last_step(tail(log))) is not None:
            written = log.stat().st_mtime
            return step._replace(left=max(0.0, step.left - (now - written))) if written >= job.begun - 1 else None
    return None


def tail(file: Path) -> str:
    """The end of a text file; nothing where there is none."""
    try:
        with open(file, "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL_BYTES))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
