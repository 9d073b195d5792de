"""Where each number comes from: what made a cell's checkpoint and its evaluations, and the commands to repeat it."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

from ptqbench.manifest import canonical
from ptqbench.reporting.collect import Evaluated
from ptqbench.reporting.scores import CellKey


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


def digest(code: dict[str, str]) -> str:
    """One digest of the digests of many files."""
    return hashlib.sha256(canonical(code).encode()).hexdigest()[:12]


def command(file: Path) -> str:
    """What makes one file, and whatever it needs, anew."""
    return f"snakemake --cores all --forcerun evaluate -- {shlex.quote(file.as_posix())}"
