"""Where each number comes from: what made a cell's checkpoint and its evaluations, and the commands to repeat it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ptqbench.manifest import canonical
from ptqbench.reporting.collect import Evaluated
from ptqbench.reporting.scores import CellKey, cell_of
from ptqbench.reporting.tables import KEY

MADE = ("spec", "code", "versions")  # of a cell
EVALUATED = ("suite", "backend", "device", "seconds", "evaluated_code", "evaluated_versions", "command")
ORIGINS: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys((*KEY, *MADE, *EVALUATED), pl.String)
ORIGINS["seconds"] = pl.Float64


def provenance(cells: list[dict[str, Any]], results: list[Evaluated]) -> dict[CellKey, dict[str, Any]]:
    """Per cell: its spec, the digest of the code and the versions that made it, and its evaluations."""
    specs = {tuple(cell["cell"]): cell["spec"] for cell in cells}
    found: dict[CellKey, dict[str, Any]] = {}
    for one in results:
        made = one.content["cell"]
        entry = {"spec": specs[one.cell], "code": digest(made["code"]), "versions": made["versions"], "evaluations": []}
        facts = {key: one.content.get(key) for key in ("backend", "device", "seconds", "versions")}
        facts |= {"suite": one.suite, "code": digest(one.content["code"]), "command": command(one.file)}
        found.setdefault(one.cell, entry)["evaluations"].append(facts)
    return found


def origins_table(origins: Mapping[CellKey, dict[str, Any]]) -> pl.DataFrame:
    """One row per cell and suite; ``spec`` and versions are JSON."""
    rows = []
    for cell, origin in origins.items():
        made = {**dict(zip(KEY, cell, strict=True)), "code": origin["code"]}
        made |= {name: json.dumps(origin[name], sort_keys=True) for name in ("spec", "versions")}
        for one in origin["evaluations"]:
            versions = json.dumps(one["versions"], sort_keys=True)
            rows.append({**made, **one, "evaluated_code": one["code"], "evaluated_versions": versions} | made)
    return pl.DataFrame(rows, schema=ORIGINS)


def origins_of(table: pl.DataFrame) -> dict[CellKey, dict[str, Any]]:
    """What :func:`origins_table` wrote."""
    found: dict[CellKey, dict[str, Any]] = {}
    for row in table.iter_rows(named=True):
        spec, versions, other = (json.loads(row[name]) for name in ("spec", "versions", "evaluated_versions"))
        entry = {"spec": spec, "code": row["code"], "versions": versions, "evaluations": []}
        facts = {name: row[name] for name in ("suite", "backend", "device", "seconds", "command")}
        own = found.setdefault(cell_of(row), entry)
        own["evaluations"].append({**facts, "code": row["evaluated_code"], "versions": other})
    return found


def digest(code: dict[str, str]) -> str:
    """One digest of the digests of many files."""
    return hashlib.sha256(canonical(code).encode()).hexdigest()[:12]


def command(file: Path) -> str:
    """What makes one file, and whatever it needs, anew."""
    return f"snakemake --cores all --forcerun evaluate -- {shlex.quote(file.as_posix())}"
