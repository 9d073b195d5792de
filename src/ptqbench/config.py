"""Check ``config.yaml`` against its schema, in words that a user can act on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from ptqbench.errors import UserError, did_you_mean


def check(config: dict[str, Any], schema_file: Path) -> None:
    """Raise a :class:`UserError` for the first violation of the schema."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: list(map(str, error.path)))
    if errors:
        raise UserError(explain(errors[0]))


def explain(error: ValidationError) -> str:
    """One line for one violation: the key, the value and the remedy."""
    where = ".".join(map(str, error.absolute_path)) or "the top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        return f"config: unknown key '{unknown}' in {where}{did_you_mean(unknown, known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"config: {where} lacks the key '{missing}': add it"
    if error.validator == "oneOf":
        choices = " or ".join("/".join(option["required"]) for option in error.validator_value)
        return f"config: {where} is {error.instance!r}: give exactly one of {choices}"
    if error.validator == "enum":
        return (
            f"config: {where} is {error.instance!r}{did_you_mean(str(error.instance), map(str, error.validator_value))}"
        )
    return f"config: {where} is {error.instance!r}: {error.message}"
