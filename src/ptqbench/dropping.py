"""Artifacts that a finished run no longer needs, dropped on request (``keep`` in the config): their records stay.

A record without its files, marked as dropped, still vouches for what was made from it: nothing is stale. What a new
cell or suite has to read is made again, and Snakemake then makes what else was made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptqbench import spec
from ptqbench.cells import Cell
from ptqbench.manifest import NAME, dropped, load
from ptqbench.plan import Plan

DROPPABLE = ("statistics", "reference", "quantized", "packed")


def drop(plan: Plan, results: Path) -> int:
    """Remove the files of every artifact of a kind that the config does not keep; the bytes that this freed.

    What a result of the plan that is not there yet has to read stays: a run may have made some of them alone.
    """
    freed, wanted = 0, set(needed(plan, results))
    for kind in DROPPABLE:
        if kind in plan.config.get("keep", DROPPABLE):
            continue
        for manifest in outputs(plan, results, kind):
            files = [manifest.parent / name for name in load(manifest)["files"]] if manifest.is_file() else []
            if files and manifest not in wanted and not dropped(manifest).exists():
                dropped(manifest).touch()  # first: a kill between the two leaves files and not a damaged artifact
                freed += sum(file.stat().st_size for file in files)
                for file in files:
                    file.unlink()
    return freed


def revive(plan: Plan, results: Path) -> list[Path]:
    """Withdraw the records of dropped artifacts that something which is not made yet has to read; which they were."""
    found = []
    for manifest in dict.fromkeys(needed(plan, results)):
        if dropped(manifest).exists():
            manifest.unlink(missing_ok=True)
            dropped(manifest).unlink()
            found.append(manifest)
    return found


def outputs(plan: Plan, results: Path, kind: str) -> Iterator[Path]:
    """The manifests of a kind; the float model's checkpoint is the model itself, and another's is not ours to make."""
    kept = {results / "packed" / cell.path / NAME for cell in plan.cells if not spec.is_ours(cell)}
    yield from (
        path for path in plan.outputs(results) if path.relative_to(results).parts[0] == kind and path not in kept
    )


def needed(plan: Plan, results: Path) -> Iterator[Path]:
    """What missing results read, and what that is made from where it is not there either."""
    for cell, suite in plan.evaluations:
        if not (results / "eval" / cell.path / f"{suite}.json").is_file():
            yield results / "reference" / cell.model / suite / NAME
            yield from _checkpoint(plan, cell, results)
    for cell in plan.diagnosed:
        if not (results / "diagnosis" / cell.path / NAME).is_file():
            yield from _codes(plan, cell, results)
            yield _statistics(cell, results)
    for cell in plan.cells:
        if not (results / "packed" / cell.path / NAME).is_file():
            yield from _checkpoint(plan, cell, results)


def _checkpoint(plan: Plan, cell: Cell, results: Path) -> Iterator[Path]:
    manifest = results / "packed" / cell.path / NAME
    yield manifest
    if spec.is_ours(cell) and _gone(manifest):
        yield from _codes(plan, cell, results)


def _codes(plan: Plan, cell: Cell, results: Path) -> Iterator[Path]:
    own = plan.codes(cell)
    scatter = plan.config.get("scatter", 1)
    folder = results / "quantized" / own.path
    yield folder / NAME
    if _gone(folder / NAME):
        yield from (folder / f"part-{part}-of-{scatter}" / NAME for part in range(scatter if scatter > 1 else 0))
        yield _statistics(own, results)


def _statistics(cell: Cell, results: Path) -> Path:
    return results / "statistics" / cell.model / cell.calibration / NAME


def _gone(manifest: Path) -> bool:
    return not manifest.is_file() or dropped(manifest).exists()
