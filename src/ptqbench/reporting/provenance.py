"""Where each number comes from: what made a cell's checkpoint and its evaluations, and the commands to repeat it."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

from ptqbench.manifest import canonical, load, read_result
from ptqbench.records import Packed
from ptqbench.reporting.scores import CellKey


def provenance(plan: dict[str, Any], root: Path) -> dict[CellKey, dict[str, Any]]:
    """Per cell: its spec, the digest of the code and the versions that made it, and its evaluations."""
    found: dict[CellKey, dict[str, Any]] = {}
    for cell in plan["cells"]:
        packed = load(root / "packed" / "/".join(cell["cell"]) / "manifest.json", Packed)
        made = {"spec": packed["spec"], "code": digest(packed["code"]), "versions": packed["versions"]}
        found[tuple(cell["cell"])] = {**made, "evaluations": []}
    for evaluation in plan["evaluations"]:
        file = root / "eval" / "/".join(evaluation["cell"]) / f"{evaluation['suite']}.json"
        content = read_result(file)
        facts = {key: content.get(key) for key in ("backend", "device", "seconds", "versions")}
        facts |= {"suite": evaluation["suite"], "code": digest(content["code"]), "command": command(file)}
        found[tuple(evaluation["cell"])]["evaluations"].append(facts)
    return found


def digest(code: dict[str, str]) -> str:
    """One digest of the digests of many files."""
    return hashlib.sha256(canonical(code).encode()).hexdigest()[:12]


def command(file: Path) -> str:
    """What makes one file, and whatever it needs, anew."""
    return f"snakemake --cores all --forcerun evaluate -- {shlex.quote(file.as_posix())}"
