"""Values of the config against JSON schemas, in words that a user can act on.

Stricter than the standard, where that would fail later: an integer has no point (4.0 is none), a number is finite.
"""

from __future__ import annotations

import math
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from ptqbench.errors import UserError, did_you_mean, shown, word

NAMES = (
    "begin with a letter or digit, then letters, digits, '.', '_', '+' and '-', 64 in all; "
    "'none', 'unknown', 'float' and endings of our files (.log, .json, .server, .damaged, .lock, .tmp) are taken"
)


def _is_integer(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: Any, value: Any) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
)


def check(value: Any, schema: dict[str, Any], where: str = "") -> None:
    """Raise a :class:`UserError` for the first violation; ``where`` is the value's config key, if it is not the top."""
    errors = sorted(Validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)))
    if errors:
        raise UserError(explain(errors[0], where))


def explain(error: ValidationError, above: str = "") -> str:
    """One line for one violation: the key, the value and the remedy."""
    path = ".".join([above] * bool(above) + [word(part) for part in error.absolute_path])
    where, value = path or "the top level", error.instance
    if error.validator == "additionalProperties" and isinstance(error.validator_value, bool):
        known = error.schema.get("properties", {})
        unknown = next(key for key in value if key not in known)
        return f"config: unknown key {shown(unknown)} in {where}{did_you_mean(unknown, known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in value)
        return f"config: {where} lacks the key '{missing}': add it"
    if error.validator == "oneOf":
        choices = " or ".join(" with ".join(option["required"]) for option in error.validator_value)
        return f"config: {where} is {shown(value)}: give either {choices}"
    if error.validator == "enum":
        return f"config: {where} is {shown(value)}{did_you_mean(value, error.validator_value)}"
    if "propertyNames" in error.schema_path:
        return f"config: {where} has the name {shown(value)}: {NAMES}"
    return f"config: {where} is {shown(value)}: {remedy(error)}"


def remedy(error: ValidationError) -> str:
    """What the schema wants, in its own words where it has a description."""
    limit = error.validator_value
    wanted = {
        "type": f"it must be of type {' or '.join(map(str, limit)) if isinstance(limit, list) else limit}",
        "minimum": f"it must be at least {limit}",
        "exclusiveMinimum": f"it must be above {limit}",
        "maximum": f"it must be at most {limit}",
        "maxLength": f"it must have at most {limit} characters",
        "uniqueItems": "name each only once",
        "minItems": "name at least one",
        "maxItems": f"name at most {limit}",
        "minProperties": "name at least one",
    }
    value, number = error.instance, isinstance(error.instance, float)
    if error.validator == "type" and number and value.is_integer() and "integer" in wanted["type"]:
        return f"{wanted['type']}, written without a point"
    description = error.schema.get("description", error.message)
    return wanted.get(error.validator, f"it must be {description}")
