"""A run's estimate on this machine, and what its jobs took, for the next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ptqbench import spec
from ptqbench.cells import Cell
from ptqbench.estimates import fits, rates
from ptqbench.estimates.jobs import Job, jobs, left, sizes
from ptqbench.estimates.needs import CPU, GPU
from ptqbench.manifest import NAME
from ptqbench.plan import Plan
from ptqbench.sealed import read

LATE = 30.0  # seconds besides a stage's own, beyond which a job was waiting (a cluster's queue, another job's lock)


class Ran(Protocol):
    """What Snakemake remembers of an output's job: seconds since the epoch."""

    starttime: float | None
    endtime: float | None


def waiting(plan: Plan, results: Path, here: fits.Machine) -> list[Job]:
    """The jobs of a plan whose outputs are not there."""
    return left(jobs(plan, results, here.host, sizes(plan)))


def expected(plan: Plan, results: Path) -> Iterator[str]:
    """What a run is about to take, in a line; raises :class:`UserError` for one that the disk cannot hold."""
    here = fits.machine(results)
    if found := waiting(plan, results, here):
        fits.check_disk(found, here)
        took = rates.read(rates.file())
        yield fits.line(found, fits.seconds(found, here, took), here, bool(took))


def check(plan: Plan, results: Path) -> None:
    """Raise :class:`UserError` for a job that does not fit the memory of this machine, where that is to run it."""
    here = fits.machine(results)
    fits.check_memory(waiting(plan, results, here), here)


def memory(plan: Plan, results: Path) -> dict[Cell, dict[str, int]]:
    """What quantizing each cell needs: bytes of a host, and of a GPU; the same whatever machine asks."""
    known = sizes(plan)
    on_cpu, on_gpu = ({job.output: job.need for job in jobs(plan, results, host, known)} for host in (CPU, GPU))
    quantized = filter(spec.is_ours, plan.cells)
    outputs = {cell: results / "quantized" / plan.codes(cell).path / NAME for cell in quantized}
    return {
        cell: {"cpu": round(on_cpu[output].host), "gpu": round(on_gpu[output].gpu)}
        for cell, output in outputs.items()
        if output in on_cpu
    }


def note(plan: Plan, results: Path, records: Mapping[Path, Ran | None], begun: float) -> None:
    """Keep what the jobs took that ran since ``begun``; ``records`` is Snakemake's own, by output."""
    here, kinds, found = fits.machine(results), plan.outputs(results), []
    for job in jobs(plan, results, here.host, sizes(plan)):
        ran = records.get(job.output)
        if ran is None or ran.starttime is None or ran.endtime is None or ran.starttime < begun:
            continue
        measured: dict[str, Any] = read(job.output, kinds[job.output])
        seconds, own = ran.endtime - ran.starttime, measured.get("seconds")
        if own is not None and seconds > own + LATE:
            continue
        work = job.need.seconds(here.host) - job.need.start
        found.append(rates.Took(rates.machine(), here.gpus > 0, job.rule, job.what, job.need.start, work, seconds))
    rates.note(rates.file(), found)
