"""Where each number comes from: what made a cell's checkpoint and its evaluations, and the commands to repeat it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ptqbench.cells import Cell
from ptqbench.manifest import canonical
from ptqbench.records import PlannedCell
from ptqbench.reporting.results import Evaluated
from ptqbench.reporting.tables import KEY

MADE = ("spec", "code", "versions")  # of a cell
SAME = ("suite", "backend", "device", "seconds", "command")  # of an evaluation, under the same name
EVALUATED = ("suite", "backend", "device", "seconds", "evaluated_code", "evaluated_versions", "command")
ORIGINS: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys((*KEY, *MADE, *EVALUATED), pl.String)
ORIGINS["seconds"] = pl.Float64


@dataclass(frozen=True)
class Evaluation:
    """What ran one suite on a cell."""

    suite: str
    backend: str
    device: str
    seconds: float
    code: str
    versions: dict[str, str]
    command: str


@dataclass(frozen=True)
class Origin:
    """What made a cell's checkpoint (its spec, the digest of the code and the versions), and its evaluations."""

    spec: dict[str, Any]
    code: str
    versions: dict[str, str]
    evaluations: tuple[Evaluation, ...] = ()

    def and_by(self, one: Evaluation) -> Origin:
        """With one evaluation more."""
        return replace(self, evaluations=(*self.evaluations, one))


def provenance(cells: list[PlannedCell], results: list[Evaluated]) -> dict[Cell, Origin]:
    """Where each cell's numbers come from."""
    specs = {Cell(*cell["cell"]): cell["spec"] for cell in cells}
    found: dict[Cell, Origin] = {}
    for one in results:
        content, made = one.content, one.content["cell"]
        origin = found.get(one.cell) or Origin(specs[one.cell], digest(made["code"]), made["versions"])
        evaluation = Evaluation(
            suite=one.suite,
            backend=content["backend"],
            device=content["device"],
            seconds=content["seconds"],
            code=digest(content["code"]),
            versions=content["versions"],
            command=command(one.file),
        )
        found[one.cell] = origin.and_by(evaluation)
    return found


def origins_table(origins: Mapping[Cell, Origin]) -> pl.DataFrame:
    """One row per cell and suite; ``spec`` and versions are JSON."""
    rows = []
    for cell, origin in origins.items():
        made = {**cell.columns, "code": origin.code, "spec": _text(origin.spec), "versions": _text(origin.versions)}
        for one in origin.evaluations:
            facts = {name: getattr(one, name) for name in SAME}
            rows.append({**made, **facts, "evaluated_code": one.code, "evaluated_versions": _text(one.versions)})
    return pl.DataFrame(rows, schema=ORIGINS)


def origins_of(table: pl.DataFrame) -> dict[Cell, Origin]:
    """What :func:`origins_table` wrote."""
    found: dict[Cell, Origin] = {}
    for row in table.iter_rows(named=True):
        cell, facts = Cell.of(row), {name: row[name] for name in SAME}
        spec, versions, other = (json.loads(row[name]) for name in ("spec", "versions", "evaluated_versions"))
        evaluation = Evaluation(code=row["evaluated_code"], versions=other, **facts)
        found[cell] = (found.get(cell) or Origin(spec, row["code"], versions)).and_by(evaluation)
    return found


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


def digest(code: dict[str, str]) -> str:
    """One digest of the digests of many files."""
    return hashlib.sha256(canonical(code).encode()).hexdigest()[:12]


def command(file: Path) -> str:
    """What makes one file, and whatever it needs, anew."""
    return f"snakemake --cores all --forcerun evaluate -- {shlex.quote(file.as_posix())}"
