"""A model card for a quantized checkpoint, as the hub shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.manifest import load
from ptqbench.places import model_folder
from ptqbench.records import Model
from ptqbench.reporting.rows import ScoreRow
from ptqbench.schemes import INTEGER

NORMAL = 1.96  # standard errors of a 95 % interval
UNKNOWN = "unknown"


class Source(NamedTuple):
    """Where a model came from: its folder (relative to the run's where the config has it so), and the config's line."""

    folder: Path
    spec: dict[str, Any]


def source_of(manifest: Path) -> Source:
    """The source of a prepared model, from its manifest.

    Raises :class:`UserError` where that is not there.
    """
    if not manifest.is_file():
        raise UserError(f"there is no {manifest}: name the report in the folder of its run (--report)")
    found = load(manifest, Model)
    return Source(model_folder(manifest, found), found["spec"])


def licence(folder: Path) -> str:
    """What the source's own card says of its licence."""
    file = folder / "README.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not text.startswith("---\n"):
        return UNKNOWN
    try:
        head = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:  # somebody else's card
        return UNKNOWN
    return str(head.get("license_name") or head.get("license") or UNKNOWN) if isinstance(head, dict) else UNKNOWN


def card(cell: dict[str, Any], scores: list[ScoreRow], source: Source, terms: str) -> list[str]:
    """The card's lines for a row of the report's ``cells`` and that cell's rows of its ``scores``."""
    base = source.spec.get("hub") or cell["model"]
    head: dict[str, Any] = {"tags": ["ptqbench", "quantized", cell["format"]]}
    if terms != UNKNOWN:
        head["license"] = terms
    if "hub" in source.spec:
        head |= {"base_model": base, "base_model_relation": "quantized"}
    command = " ".join(["vllm serve", "THIS_FOLDER", *(cell["serve_flags"] or [])])
    if cell.get("serve", command) is None:
        command = "# vLLM does not serve this checkpoint: load it with transformers' from_pretrained"
    group = f"groups of {cell['group_size']}" if cell["group_size"] > 0 else "one scale for each output channel"
    kind = "" if cell.get("number", INTEGER) == INTEGER else f"{cell['number']} of "
    terms_said = terms if terms != UNKNOWN else "not stated there: find it out before you publish this"
    lines = ["---", yaml.safe_dump(head, sort_keys=True).rstrip(), "---", ""]
    lines += [f"# {base}, {cell['method']} at {cell['bits'] or 'mixed'} bits", ""]
    lines += [
        f"{base} with its linears quantized by `{cell['method']}` "
        f"({' + '.join(cell['strategy']) or 'nearest rounding'}) to {kind}{cell['bits'] or 'mixed'} bits, {group}: "
        f"{cell['bits_per_weight']:.3g} bits per weight. Stored as {cell['format']}, {cell['served_bytes']:,} bytes.",
        f"Calibrated on `{cell['calibration']}`. Made and measured by ptqbench.",
    ]
    lines += [f"- served dense: {cell['dense']}"] if cell.get("dense") else []
    lines += [f"- {line}" for line in cell["fallbacks"]]
    lines += [
        "",
        "## What it recovers",
        "",
        "| score | this | of the float model's | 95 % interval |",
        "|---|---|---|---|",
    ]
    lines += [recovery(row) for row in scores]
    lines += ["", "## Use", "", "```sh", command, "```"]
    lines += ["", "## Source and licence", "", f"- model: {base}{at(source)}", f"- licence: {terms_said}"]
    return [*lines, f"- cell: `{Cell.of(cell).path}`"]


def recovery(row: ScoreRow) -> str:
    """A row of the table: what is left of the float model's score, and where that lies with 95 %."""
    value = f"{row.value:.4g} ± {row.stderr:.2g}" if row.stderr is not None else f"{row.value:.4g}"
    if row.drop is None:
        return f"| {row.score} | {value} | | |"
    kept, width = 100 * (1 - row.drop), 100 * NORMAL * (row.drop_stderr or 0.0)
    return f"| {row.score} | {value} | {kept:.2f} % | {kept - width:.2f} to {kept + width:.2f} % |"


def at(source: Source) -> str:
    """The commit of a model of the hub."""
    return f" at commit {source.spec['revision']}" if "revision" in source.spec else ""
