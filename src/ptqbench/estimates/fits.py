"""Whether a plan's jobs fit this machine, and in words what would, before any of them runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ptqbench.devices import gpu_slots, visible_gpus
from ptqbench.errors import UserError
from ptqbench.estimates import rates
from ptqbench.estimates.jobs import RULES, Job
from ptqbench.estimates.needs import CPU, GPU, Host
from ptqbench.words import columns, duration, size

MARGIN = 1.1  # estimates of memory and disk are good to a tenth: a run is refused where they are beyond it


@dataclass(frozen=True)
class Machine:
    """What there is; None where nothing tells."""

    gpus: int
    cores: int
    at_once: int
    gpu_memory: int | None
    memory: int | None
    free: int

    @property
    def host(self) -> Host:
        """The default rates of such a machine."""
        return GPU if self.gpus else CPU

    def __str__(self) -> str:
        if self.gpus:
            return f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        return f"{self.cores} core{'s' if self.cores > 1 else ''}"


def machine(folder: Path) -> Machine:
    """This machine, and the free bytes of the disk that ``folder`` will be on."""
    gpus, cores = len(visible_gpus()), os.cpu_count() or 1
    there = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.is_dir())
    return Machine(
        gpus=gpus,
        cores=cores,
        at_once=gpus * gpu_slots() if gpus else min(2, cores),
        gpu_memory=gpu_memory() if gpus else None,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        free=shutil.disk_usage(there).free,
    )


@cache
def gpu_memory() -> int | None:
    """Bytes of the smallest GPU, by its driver's tool."""
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
        return min(int(line) for line in said.split()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):  # no driver's tool here: the jobs find out
        return None


def seconds(jobs: Sequence[Job], here: Machine, took: list[rates.Took]) -> list[float]:
    """How long each job takes, by what such jobs took on this machine before."""
    found = []
    for job in jobs:
        scale = rates.scale(took, job.rule, job.what, here.gpus > 0)
        work = job.need.seconds(here.host) - job.need.start
        found.append(scale.start * job.need.start + scale.work * work)
    return found


def total(jobs: Sequence[Job], times: Sequence[float], here: Machine) -> float:
    """Seconds of the whole run: as many jobs at once as there is room for, and no faster than its longest chain."""
    slowest: dict[str, dict[str, float]] = {}  # of each rule, by model
    for job, t in zip(jobs, times, strict=True):
        own = slowest.setdefault(job.model, {})
        own[job.rule] = max(t, own.get(job.rule, 0.0))
    chain = max((sum(rules.values()) for rules in slowest.values()), default=0.0)
    return max(chain, sum(times) / here.at_once)


def check(jobs: Sequence[Job], here: Machine) -> None:
    """Raise :class:`UserError` for a plan that does not fit: the disk as a whole, and each job's memory."""
    check_disk(jobs, here)
    check_memory(jobs, here)


def check_disk(jobs: Sequence[Job], here: Machine) -> None:
    """Raise :class:`UserError` where the disk cannot hold what is not made yet."""
    needed = disk(jobs)
    if needed > MARGIN * here.free:
        biggest = max(RULES, key=lambda rule: disk(job for job in jobs if job.rule == rule))
        share = disk(job for job in jobs if job.rule == biggest)
        raise UserError(
            f"the plan needs about {size(needed)} of disk ({size(share)} of it for {biggest}), and {size(here.free)} "
            "are free: make room, take cells out of the grid, or run in a folder on a larger disk"
        )


def check_memory(jobs: Sequence[Job], here: Machine) -> None:
    """Raise :class:`UserError` for a job that this machine's memory, or a GPU's, cannot hold."""
    for job in jobs:
        for kind, need, limit in (("GPU ", job.need.gpu, here.gpu_memory), ("", job.need.host, here.memory)):
            if limit is not None and need > MARGIN * limit:
                raise UserError(
                    f"{job.rule} {job.what or job.model} of model '{job.model}' needs about {size(need)} of {kind}"
                    f"memory, and there are {size(limit)}: {_remedy(job, jobs, kind, limit)}"
                )


def _remedy(job: Job, jobs: Sequence[Job], kind: str, limit: int) -> str:
    """What would fit instead."""
    others = dict.fromkeys(
        other.what for other in jobs if other.rule == job.rule and other.model == job.model and other.what
    )
    fitting = [
        name
        for name in others
        if all((j.need.gpu if kind else j.need.host) <= limit for j in jobs if j.rule == job.rule and j.what == name)
    ]
    if fitting and job.rule == "quantize":
        return f"of its methods {', '.join(fitting)} would fit"
    if job.rule == "evaluate" and kind:
        return f"give the model several GPUs to evaluate on (models.{job.model}.gpus)"
    return "take a smaller model, or shorter calibration"


def disk(jobs: Iterable[Job]) -> float:
    """Bytes that jobs leave."""
    return sum(job.need.disk for job in jobs)


def table(jobs: Sequence[Job], times: Sequence[float]) -> list[str]:
    """A line for each rule and what it runs: how many, how long, how much."""
    rows = [("rule", "", "jobs", "time of one", "GPU memory", "memory", "disk of all")]
    kinds = dict.fromkeys((job.rule, job.model, job.what) for job in jobs)
    for rule, model, what in kinds:
        pairs = zip(jobs, times, strict=True)
        own = [(job, t) for job, t in pairs if (job.rule, job.model, job.what) == (rule, model, what)]
        peak = max(job.need.gpu for job, _ in own)
        rows.append(
            (
                rule,
                " ".join(filter(None, (model, what))),
                str(len(own)),
                duration(sum(t for _, t in own) / len(own)),
                size(peak) if peak else "–",
                size(max(job.need.host for job, _ in own)),
                size(disk(job for job, _ in own)),
            )
        )
    return columns(rows)


def line(jobs: Sequence[Job], times: Sequence[float], here: Machine, measured: bool) -> str:
    """The whole in one line; ``measured`` says whether this machine's own jobs are known."""
    known = "rates measured here" if measured else "default rates: good to a factor of two or three"
    return (
        f"takes   about {duration(total(jobs, times, here))} on {here} ({known}), {size(disk(jobs))} of disk "
        f"({size(here.free)} free)"
    )
