"""Times, names and logs of jobs in words: pure functions on what Snakemake reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

PROGRESS = re.compile(r"^(?P<what>\S.*?) (?P<done>\d+)/(?P<total>\d+) .*about (?P<left>\d+) s remain$")


class Step(NamedTuple):
    """How far a job says it is, and the seconds that it takes to be left."""

    name: str
    left: float


def duration(seconds: float) -> str:
    """``30 s``, ``4 min`` or ``1 h 10``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3570:
        return f"{round(whole / 60)} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes:02d}"


def job_name(rule: str, wildcards: Mapping[str, str]) -> str:
    """``quantize pocket-llama/wikitext2/gptq/w4g128``: the rule, and what it is made for as the report names it."""
    return f"{rule} {'/'.join(map(str, wildcards.values()))}".rstrip()


def last_step(log: str) -> Step | None:
    """The last line of progress in (the end of) a job's log, as ``ptqbench.progress`` writes them."""
    for line in reversed(log.splitlines()):
        if found := PROGRESS.match(line.strip()):
            what = found["what"].rpartition(": ")[2]
            return Step(f"{what} {found['done']}/{found['total']}", float(found["left"]))
    return None


def last_lines(log: str, most: int) -> list[str]:
    """The end of a log, without lines of progress."""
    told = [line.rstrip() for line in log.splitlines() if line.strip() and not PROGRESS.match(line.strip())]
    return told[-most:]
