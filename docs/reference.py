"""Write docs/reference.md from what the config's schema and the kinds of suites declare: `python docs/reference.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ptqbench.members import members

ROOT = Path(__file__).parent.parent
NAMED = ("models", "checkpoints", "calibration", "schemes", "suites")  # a name, then its keys
FIELD = "REQUIRED"  # what a kind of suite declares

Schema = dict[str, Any]


def page() -> str:
    """The reference."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    lines = [
        "# Every key of the config",
        "",
        "Made by `python docs/reference.py` from `workflow/schemas/config.schema.yaml` and the kinds of suites; a test "
        "holds it to them. The parameters of members (transforms, ranges, roundings) are in "
        "[methods.md](methods.md#parameters). What violates this page is refused in one line before any work.",
    ]
    for section, declared in schema["properties"].items():
        lines += ["", f"## {section}", "", *described(section, declared, schema)]
        if section == "suites":
            lines += ["", *kinds()]
    return "\n".join(lines) + "\n"


def described(section: str, declared: Schema, schema: Schema) -> Iterator[str]:
    """A section as a table of its keys, or in a sentence where it has none."""
    inner = declared
    if section in NAMED:
        inner = declared["additionalProperties"]
        kind = "calibration set" if section == "calibration" else section.removesuffix("s")
        yield f"`{section}: {{NAME: {{…}}}}`: a line for each {kind}."
    elif section == "grid":
        inner = declared["items"]
        yield "A list; each entry combines what it names."
    if "properties" not in inner:
        yield sentence(section, declared, schema)
        return
    if inner is not declared:
        yield ""
    yield from ["| key | default | allowed | what it is |", "|---|---|---|---|"]
    for key, value in inner["properties"].items():
        whole = resolved(value, schema)
        default = spelled(whole["default"]) if "default" in whole else needed(key, inner)
        yield f"| `{key}` | {default} | {allowed(whole, schema)} | {whole['description']} |"


def sentence(section: str, declared: Schema, schema: Schema) -> str:
    """A section that has one value, or values by names of the user's."""
    whole = resolved(declared, schema)
    if section == "methods":
        stages = "`transform`, `range`, `rounding`, `activations`, `propagate`"
        return f"`methods: {{NAME: {{…}}}}`: compositions of {stages} ([methods.md](methods.md))."
    default = f" Default: {spelled(whole['default'])}." if "default" in whole else ""
    said = f"{allowed(whole, schema)}: {whole['description']}.{default}"
    return said[0].upper() + said[1:]


def needed(key: str, inner: Schema) -> str:
    """Whether a key without a default must be there."""
    ways = [option["required"] for option in inner.get("oneOf", [])]
    own = next((way for way in ways if key in way), None)
    if own is not None:
        others = [f"`{way[0]}`" for way in ways if way is not own]
        beside = [f"`{name}`" for name in own if name != key]
        return "needed" + (f" with {', '.join(beside)}" if beside else "") + f", or {', '.join(others)}"
    return "needed" if key in inner.get("required", []) else "none"


def resolved(value: Schema, schema: Schema) -> Schema:
    """A key's schema with what it refers to; what stands beside a reference counts."""
    name = value.get("$ref", "").rpartition("/")[2]
    return {**schema["$defs"][name], **value} if name else value


def allowed(value: Schema, schema: Schema) -> str:
    """Values that a key may have."""
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "anyOf" in value:
        return " or ".join(allowed({"type": value["type"], **one}, schema) for one in value["anyOf"])
    if "const" in value:
        return f"`{value['const']}`"
    if value["type"] == "boolean":
        return "true, false"
    if value["type"] == "array":
        return f"a list of {allowed(resolved(value['items'], schema), schema)}"
    if value["type"] == "object":
        return f"names with {allowed(resolved(value['additionalProperties'], schema), schema)}"
    if value["type"] == "string":
        return "text"
    whole = "whole, " if value["type"] == "integer" else ""
    return f"{whole}{value['minimum']:,} to {value['maximum']:,}"


def kinds() -> Iterator[str]:
    """What suites of each kind take."""
    yield from ["| kind | needs | may have |", "|---|---|---|"]
    for kind, declared in members("evaluation").items():
        if FIELD in declared:
            needs, may = (", ".join(f"`{key}`" for key in declared[name]) or "-" for name in (FIELD, "OPTIONAL"))
            yield f"| `{kind}` | {needs} | {may} |"


def spelled(value: Any) -> str:
    """A default as it is written in a config."""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    (ROOT / "docs/reference.md").write_text(page(), encoding="utf-8")
