"""A run's estimate on this machine, and what its jobs took, for the next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ptqbench import spec
from ptqbench.estimates import fits, rates
from ptqbench.estimates.jobs import Job, jobs, left, sizes
from ptqbench.manifest import NAME
from ptqbench.plan import Cell, Plan
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
        yield fits.line(found, fits.seconds(found, here, rates.read(rates.file())), here)


def check(plan: Plan, results: Path) -> None:
    """Raise :class:`UserError` for a job that does not fit the memory of this machine, where that is to run it."""
    here = fits.machine(results)
    fits.check_memory(waiting(plan, results, here), here)


def memory(plan: Plan, results: Path) -> dict[Cell, int]:
    """What quantizing each cell needs: bytes of the GPU where there is one, else of the host."""
    found = {job.output: job.need for job in jobs(plan, results, fits.machine(results).host, sizes(plan))}
    quantized = (cell for cell in plan.cells if cell.calibration != spec.NO_CALIBRATION)
    outputs = {cell: results / "quantized" / plan.codes(cell).path / NAME for cell in quantized}
    needs = {cell: found[output] for cell, output in outputs.items() if output in found}
    return {cell: round(need.gpu or need.host) for cell, need in needs.items()}


def note(plan: Plan, results: Path, records: Mapping[Path, Ran | None], begun: float) -> None:
    """Keep what the jobs took that ran since ``begun``; ``records`` is Snakemake's own, by output."""
    here, kinds, found = fits.machine(results), plan.outputs(results), []
    for job in jobs(plan, results, here.host, sizes(plan)):
        ran = records.get(job.output)
        if ran is None or ran.starttime is None or ran.endtime is None or ran.starttime < begun:
            continue
        measured: dict[str, Any] = read(job.output, kinds[job.output])
        device = str(measured.get("device", "cpu"))
        seconds, own = ran.endtime - ran.starttime, measured.get("seconds")
        if own is not None and seconds > own + LATE:
            continue
        work = job.need.seconds(here.host) - job.need.start
        found.append(rates.Took(rates.machine(), device, job.rule, job.what, job.need.start, work, seconds))
    rates.note(rates.file(), found)
