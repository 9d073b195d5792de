"""Check ``config.yaml`` against its schema, in words that a user can act on."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import yaml

from ptqbench import schema
from ptqbench.atomic import write_text
from ptqbench.errors import UserError

VARIABLE = "PTQBENCH_CONFIG"
NAMED = ("models", "checkpoints", "calibration", "schemes", "methods", "suites")  # sections whose names become paths


def check(config: dict[str, Any], schema_file: Path) -> None:
    """Raise a :class:`UserError` for the first violation of the schema, or for names that collide on disk."""
    schema.check(config, yaml.safe_load(schema_file.read_text(encoding="utf-8")))
    for section in NAMED:
        names: dict[str, str] = {}
        for name in config.get(section, {}):
            if (other := names.setdefault(name.casefold(), name)) != name:
                raise UserError(
                    f"config: {section} has the names '{other}' and '{name}', which some file systems take for one: "
                    "rename one of them"
                )


def hand_on(config: dict[str, Any], state: Path) -> None:
    """Write a run's configuration where its jobs find it, on other hosts too, and name the file to them."""
    text = json.dumps(config)  # keys in the user's order, which the report keeps
    file = state / handed(text.encode())
    state.mkdir(exist_ok=True)
    write_text(file, text)
    os.environ[VARIABLE] = str(file)


def take_over(config: dict[str, Any]) -> None:
    """Make ``config`` that of the run that submitted this job.

    Snakemake does not tell its jobs of ``--replace-workflow-config``: theirs would mix a preset with config.yaml.
    Raises :class:`UserError` where the run's config did not reach the job.
    """
    if VARIABLE not in os.environ:
        raise UserError(
            f"the variable {VARIABLE} did not reach this job: let the cluster pass the environment on to jobs "
            "(SLURM: sbatch --export=ALL, and no SBATCH_EXPORT=NONE)"
        )
    file = Path(os.environ[VARIABLE])
    data = file.read_bytes()
    if file.name != handed(data):
        raise UserError(f"{file} is not what the run wrote, whose name is its digest: run snakemake again")
    config.clear()
    config.update(json.loads(data))


def handed(data: bytes) -> str:
    """The name of the file that hands a configuration on."""
    return f"ptqbench-config-{hashlib.sha256(data).hexdigest()[:12]}.json"
