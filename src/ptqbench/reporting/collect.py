"""From the artifacts of a plan to two tables whose schemas are a contract: ``results`` and ``cells``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ptqbench.errors import UserError
from ptqbench.manifest import load, read_result
from ptqbench.members import members
from ptqbench.places import checkpoint_folder
from ptqbench.recipe import strategy
from ptqbench.records import Codes, Packed

RESULTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "calibration": pl.String,
    "method": pl.String,
    "scheme": pl.String,
    "backend": pl.String,
    "export": pl.String,
    "suite": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "n": pl.Int64,
}
ITEMS: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "calibration": pl.String,
    "method": pl.String,
    "scheme": pl.String,
    "suite": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "item": pl.Int64,
    "value": pl.Float64,
}
CELLS: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "calibration": pl.String,
    "method": pl.String,
    "strategy": pl.List(pl.String),
    "scheme": pl.String,
    "bits": pl.Int64,
    "group_size": pl.Int64,
    "bits_per_weight": pl.Float64,
    "checkpoint_bytes": pl.Int64,
    "quantize_seconds": pl.Float64,
    "peak_memory_bytes": pl.Int64,
    "proxy_loss": pl.Float64,
    "fallbacks": pl.List(pl.String),
    "propagate": pl.Boolean,
    "structure": pl.String,
    "family": pl.String,
    "format": pl.String,
    "served_bytes": pl.Int64,
    "checkpoint": pl.String,
    "serve_flags": pl.List(pl.String),
}

Evaluation = dict[str, Any]  # {"cell": [model, calibration, method, scheme], "suite": name, "spec": …}


def results_table(evaluations: list[Evaluation], root: Path) -> pl.DataFrame:
    """Long form: one row per cell, suite, task and metric."""
    rows = []
    for key, suite, content in _contents(evaluations, root):
        shared = {**key, "backend": content["backend"], "export": content["export"], "suite": suite}
        rows += [{**shared, **{name: row[name] for name in row if name in RESULTS}} for row in content["rows"]]
    return pl.DataFrame(rows, schema=RESULTS)


def items_table(evaluations: list[Evaluation], root: Path) -> pl.DataFrame:
    """One row per cell, suite, task, metric and item: a window's mean loss in nats, or a document's score."""
    frames = [pl.DataFrame(schema=ITEMS)]
    for key, suite, content in _contents(evaluations, root):
        for row in content["rows"]:
            values = row.get("items", [])
            shared = {**key, "suite": suite, "task": row["task"], "metric": row["metric"]}
            columns = {name: pl.lit(value) for name, value in shared.items()}
            numbers = {"item": range(len(values)), "value": values}
            frames.append(pl.DataFrame(numbers, schema_overrides=ITEMS).with_columns(**columns).select(*ITEMS))
    return pl.concat(frames)


def _contents(evaluations: list[Evaluation], root: Path) -> Iterator[tuple[dict[str, str], str, dict[str, Any]]]:
    """Each evaluation's cell, suite and result."""
    for evaluation in evaluations:
        file = root / "eval" / "/".join(evaluation["cell"]) / f"{evaluation['suite']}.json"
        content = read_result(file)
        _same_spec(content["spec"], evaluation["spec"], file)
        key = dict(zip(("model", "calibration", "method", "scheme"), evaluation["cell"], strict=True))
        yield key, evaluation["suite"], content


def cells_table(cells: list[dict[str, Any]], root: Path) -> pl.DataFrame:
    """One row per cell, the float baseline included; ``cells``: ``{"cell": […], "spec": export spec, "family": …}``.

    ``bits`` is null for a mixed scheme; ``structure`` is what the model's adapter declares. ``checkpoint_bytes``
    counts the packed tensors, ``served_bytes`` what the checkpoint holds, dense or not.
    """
    rows = [{**_cell_row(cell["cell"], cell["spec"], root), "family": cell["family"]} for cell in cells]
    return pl.DataFrame(rows, schema=CELLS)


def with_serve_flags(cells: pl.DataFrame, evaluations: list[Evaluation], root: Path) -> pl.DataFrame:
    """Fill ``serve_flags`` with what ``vllm serve`` was given, where a suite ran on it; null where none did."""
    flags = {}
    for key, _, content in _contents(evaluations, root):
        if content["backend"].startswith("vllm"):
            flags[tuple(key.values())] = content["spec"]["serves"][content["export"]]
    values = [flags.get(row) for row in cells.select("model", "calibration", "method", "scheme").rows()]
    return cells.with_columns(pl.Series("serve_flags", values, dtype=pl.List(pl.String)))


def layers_table(cells: list[dict[str, Any]], root: Path) -> pl.DataFrame:
    """One row per cell and linear: what quantization recorded there."""
    rows = []
    for cell in cells:
        file = root / "quantized" / "/".join([*cell["cell"][:3], cell["spec"].get("codes", "-")]) / "manifest.json"
        if file.is_file():
            key = dict(zip(("model", "calibration", "method", "scheme"), cell["cell"], strict=True))
            rows += [{**key, **layer} for layer in load(file, Codes)["layers"]]
    return pl.DataFrame(rows, infer_schema_length=None)


def _cell_row(cell: list[str], spec: dict[str, Any], root: Path) -> dict[str, Any]:
    manifest = root / "packed" / "/".join(cell) / "manifest.json"
    packed = load(manifest, Packed)
    _same_spec(packed["spec"], spec, root / "packed" / "/".join(cell))
    row: dict[str, Any] = dict(zip(("model", "calibration", "method", "scheme"), cell, strict=True))
    bits = spec["scheme"]["bits"]
    row |= {"bits": None if bits == "mixed" else bits, "group_size": spec["scheme"]["group_size"]}
    row |= {"strategy": strategy(spec["method"]), "propagate": spec["method"]["propagate"]}
    row |= {
        "format": packed["format"],
        "served_bytes": packed["weight_bytes"],
        "checkpoint": str(checkpoint_folder(manifest, packed)),
    }
    row["structure"] = members("models/adapters")[packed["adapter"]].get("STRUCTURE", packed["adapter"])
    if spec["calibration"] is None:
        return row | {"bits_per_weight": 16.0, "checkpoint_bytes": packed["weight_bytes"], "fallbacks": []}
    made = load(root / "quantized" / "/".join([*cell[:3], spec["codes"]]) / "manifest.json", Codes)
    fallbacks = [f"{layer['linear']}: {layer['fallback']}" for layer in made["layers"] if layer.get("fallback")]
    if packed["reason"]:
        fallbacks.append(f"served dense: {packed['reason']}")
    if packed.get("dense_part"):
        fallbacks.append(f"served dense in part: {packed['dense_part']}")
    return row | {
        "bits_per_weight": 8 * made["packed_bytes"] / made["n_weights"],
        "checkpoint_bytes": packed["packed_weight_bytes"],
        "quantize_seconds": made["seconds"],
        "peak_memory_bytes": made["peak_memory_bytes"],
        "proxy_loss": sum(layer["proxy_loss"] for layer in made["layers"]),
        "fallbacks": fallbacks,
    }


def _same_spec(found: Any, planned: Any, file: Path) -> None:
    if found != planned:
        raise UserError(f"{file} was made from another configuration than the present one: run snakemake again")
