"""Check ``config.yaml`` against its schema, in words that a user can act on."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from ptqbench.errors import UserError, did_you_mean
from ptqbench.manifest import write_text

VARIABLE = "PTQBENCH_CONFIG"
NAMES = "begin with a letter or digit, then letters, digits, '.', '_', '+' and '-'; 'none' and 'float' are taken"


def check(config: dict[str, Any], schema_file: Path) -> None:
    """Raise a :class:`UserError` for the first violation of the schema."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: list(map(str, error.path)))
    if errors:
        raise UserError(explain(errors[0]))


def hand_on(config: dict[str, Any], state: Path) -> None:
    """Write a run's configuration where its jobs find it, on other hosts too, and name the file to them."""
    text = json.dumps(config)  # keys in the user's order, which the report keeps
    file = state / f"ptqbench-config-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    state.mkdir(exist_ok=True)
    write_text(file, text)
    os.environ[VARIABLE] = str(file)


def take_over(config: dict[str, Any]) -> None:
    """Make ``config`` that of the run that submitted this job.

    Snakemake does not tell its jobs of ``--replace-workflow-config``: theirs would mix a preset with config.yaml.
    """
    if VARIABLE not in os.environ:
        raise UserError(
            f"the variable {VARIABLE} did not reach this job: let the cluster pass the environment on to jobs "
            "(SLURM: sbatch --export=ALL, and no SBATCH_EXPORT=NONE)"
        )
    config.clear()
    config.update(json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8")))


def explain(error: ValidationError) -> str:
    """One line for one violation: the key, the value and the remedy."""
    where = ".".join(map(str, error.absolute_path)) or "the top level"
    value = error.instance
    if error.validator == "additionalProperties" and isinstance(error.validator_value, bool):
        known = error.schema.get("properties", {})
        unknown = next(key for key in value if key not in known)
        return f"config: unknown key '{unknown}' in {where}{did_you_mean(unknown, known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in value)
        return f"config: {where} lacks the key '{missing}': add it"
    if error.validator == "oneOf":
        choices = " or ".join(" with ".join(option["required"]) for option in error.validator_value)
        return f"config: {where} is {value!r}: give either {choices}"
    if error.validator == "enum":
        return f"config: {where} is {value!r}{did_you_mean(str(value), map(str, error.validator_value))}"
    if "propertyNames" in error.schema_path:
        return f"config: {where} has the name {value!r}: {NAMES}"
    return f"config: {where} is {value!r}: {remedy(error)}"


def remedy(error: ValidationError) -> str:
    """What the schema wants, in its own words where it has a description."""
    wanted = {
        "type": f"it must be of type {error.validator_value}",
        "minimum": f"it must be at least {error.validator_value}",
        "uniqueItems": "name each only once",
        "minItems": "name at least one",
        "minProperties": "name at least one",
    }
    description = error.schema.get("description", error.message)
    return wanted.get(error.validator, f"it must be {description}")
