"""Check ``config.yaml`` against its schema, in words that a user can act on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from ptqbench.errors import UserError, did_you_mean

NAMES = "begin with a letter or digit, then letters, digits, '.', '_', '+' and '-'; 'none' and 'float' are taken"


def check(config: dict[str, Any], schema_file: Path) -> None:
    """Raise a :class:`UserError` for the first violation of the schema."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: list(map(str, error.path)))
    if errors:
        raise UserError(explain(errors[0]))


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
