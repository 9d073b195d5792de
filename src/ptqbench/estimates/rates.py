"""What jobs took on this machine, kept for the user in a small file: estimates go by it where they can."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

VARIABLE = "PTQBENCH_RATES"
KEPT = 2000  # newest jobs
CLEAR = 0.6  # of a job's expected seconds that one part makes out, for it to tell of that part


@dataclass(frozen=True)
class Took:
    """A job that ran, where there was a GPU or not: seconds expected by the defaults, in two parts, and taken."""

    machine: str
    gpu: bool
    rule: str
    what: str
    start: float
    work: float
    seconds: float


@dataclass(frozen=True)
class Scale:
    """How many times the defaults jobs take, before they work and while they do."""

    start: float = 1.0
    work: float = 1.0


def file() -> Path:
    """Where a user's jobs are kept: the file that ``PTQBENCH_RATES`` names, or one in the user's cache."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ptqbench/took.jsonl"


def machine() -> str:
    """This machine's name and cores: others that share the home have rates of their own."""
    return f"{platform.node()} x{os.cpu_count() or 1}"


def read(source: Path) -> list[Took]:
    """The jobs of this machine; none where the file cannot be read, for a hint about time is no reason to stop."""
    try:
        lines = source.read_text(encoding="utf-8").splitlines()[-KEPT:]
        found = [Took(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError):
        return []
    return [one for one in found if one.machine == machine()]


def note(source: Path, jobs: Iterable[Took]) -> None:
    """Add jobs, and forget the oldest; a file that cannot be written is done without."""
    try:
        if source.exists() and not source.is_file():
            return
        before = source.read_text(encoding="utf-8").splitlines() if source.exists() else []
        source.parent.mkdir(parents=True, exist_ok=True)
        temporary = source.with_name(f".{source.name}.{os.getpid()}")
        lines = [*before, *(json.dumps(asdict(job)) for job in jobs)][-KEPT:]
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(source)
    except OSError:
        return


def scale(jobs: list[Took], rule: str, what: str, gpu: bool) -> Scale:
    """Of jobs of one kind, with a GPU there or without; where none of ``what`` ran, of all of the rule."""
    alike = [job for job in jobs if job.rule == rule and job.gpu == gpu]
    own = [job for job in alike if job.what == what] or alike
    starts = median(_starts(own) or _starts(alike) or [1.0])
    works = [(job.seconds - starts * job.start) / job.work for job in own if job.work > CLEAR * (job.start + job.work)]
    return Scale(starts, max(0.1, median(works)) if works else 1.0)


def _starts(jobs: list[Took]) -> list[float]:
    """Of jobs that do little: what they take besides is nearly all."""
    return list(_ratios(job for job in jobs if job.start > CLEAR * (job.start + job.work)))


def _ratios(jobs: Iterable[Took]) -> Iterator[float]:
    for job in jobs:
        yield max(0.1, (job.seconds - job.work) / job.start)
