"""From the results of a plan to tables whose schemas are a contract; a result tells of its cell too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.fallback import Fallback
from ptqbench.formats import foreign
from ptqbench.formats.choice import served
from ptqbench.formats.layout import Layout
from ptqbench.manifest import NAME, read_result
from ptqbench.members import members
from ptqbench.places import checkpoint_folder
from ptqbench.recipe import Member, Recipe
from ptqbench.records import Exported, Layer, Packed, PlannedCell, PlannedEvaluation, Reported, Result, Theirs
from ptqbench.schemes import INTEGER

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
    "window": pl.Int64,
    "asked": pl.Boolean,
    "leaves": pl.List(pl.String),
    "weights": pl.List(pl.Float64),
    "top_k": pl.Int64,
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
    "number": pl.String,
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
    "serve": pl.String,
    "range": pl.String,
    "dtype": pl.String,
    "dense": pl.String,
    "n_parameters": pl.Int64,
    "added_bytes": pl.Int64,
    "float_bytes": pl.Int64,
    "checkpoint_bits_per_parameter": pl.Float64,
    "seed": pl.Int64,
    "seeds_of": pl.String,
    "expected_memory_bytes": pl.Int64,
    "theirs": pl.String,
}
THEIRS = "theirs"  # what stands for the classes of a method that nobody told us of

SERVERS = ("vllm-cuda", "vllm-cpu")
BITS = {"float64": 64, "float32": 32}  # of a weight; 16 in all other types that models have


class Evaluated(NamedTuple):
    """One suite's result on one cell."""

    cell: Cell
    suite: str
    file: Path
    content: Result

    @property
    def key(self) -> dict[str, str]:
        """The cell as columns."""
        return self.cell.columns


def read_results(evaluations: list[PlannedEvaluation], root: Path) -> list[Evaluated]:
    """Every result of a plan. Raises :class:`UserError` for one that was made from another configuration."""
    found = []
    for one in evaluations:
        cell = Cell(*one["cell"])
        file = root / "eval" / cell.path / f"{one['suite']}.json"
        content = read_result(file)
        if content["spec"] != one["spec"]:
            raise UserError(f"{file} was made from another configuration than the present one: run snakemake again")
        found.append(Evaluated(cell, one["suite"], file, content))
    return found


def results_table(found: list[Evaluated]) -> pl.DataFrame:
    """Long form: one row per cell, suite, task and metric.

    ``window`` is a perplexity's, in tokens; ``asked`` is false for a task that only a group of the suite has;
    a group's value is the mean over its ``leaves`` by their ``weights``; a KL's lower bound is from ``top_k`` tokens.
    """
    rows = []
    for one in found:
        shared = {**one.key, "backend": one.content["backend"], "export": one.content["export"], "suite": one.suite}
        for row in one.content["rows"]:
            parts = row.get("leaves")
            leaves = {"leaves": list(parts), "weights": list(parts.values())} if parts else {"leaves": None}
            rows.append({**shared, **{name: value for name, value in row.items() if name in RESULTS}, **leaves})
    return pl.DataFrame(rows, schema=RESULTS)


def items_table(found: list[Evaluated]) -> pl.DataFrame:
    """One row per cell, suite, task, metric and item: a window's mean loss or KL in nats, its share of equal likeliest
    tokens, its mean square of a shift, or a document's score.
    """
    frames = [pl.DataFrame(schema=ITEMS)]
    for one in found:
        for row in one.content["rows"]:
            values = row.get("items", [])
            shared = {**one.key, "suite": one.suite, "task": row["task"], "metric": row["metric"]}
            columns = {name: pl.lit(value) for name, value in shared.items()}
            numbers = {"item": range(len(values)), "value": values}
            frames.append(pl.DataFrame(numbers, schema_overrides=ITEMS).with_columns(**columns).select(*ITEMS))
    return pl.concat(frames)


def cells_table(cells: list[PlannedCell], found: list[Evaluated], root: Path) -> pl.DataFrame:
    """One row per cell, the float baseline included; a planned cell's ``spec`` is its export's.

    ``bits`` is null for a mixed scheme; ``structure`` is what the model's adapter declares. ``checkpoint_bytes``
    counts the packed tensors, ``served_bytes`` what the checkpoint holds, dense or not, and ``dense`` says why it is.
    ``serve_flags`` is what ``vllm serve`` was given, null where no suite ran on it; ``serve`` the whole line, null
    where the choice table says that vLLM does not serve the checkpoint. ``seeds_of`` is what stands for all seeds of a
    cell in ``scores`` and ``pairs``, null where the grid asks for none. ``expected_memory_bytes`` is what quantizing
    was estimated to need, on the device that it took ``peak_memory_bytes`` of. ``theirs`` is what a checkpoint of
    others tells of itself, null for all else.
    """
    records, flags = _records(found), _flags(found)
    rows = []
    for one in cells:
        cell = Cell(*one["cell"])
        row = _cell_row(cell, one["spec"], records[cell])
        packed: Packed = {**records[cell], "spec": one["spec"]}  # type: ignore[typeddict-item]
        row["checkpoint"] = str(checkpoint_folder(root / "packed" / cell.path / NAME, packed))
        row |= {"family": one["family"], "serve_flags": flags.get(cell)}
        if "expected_memory_bytes" in one:
            device = records[cell]["quantized"]["device"]
            row["expected_memory_bytes"] = one["expected_memory_bytes"]["cpu" if device == "cpu" else "gpu"]
        if "seeds_of" in one:
            row |= {"seed": one["seed"], "seeds_of": "/".join(one["seeds_of"])}
        given = serving_flags(one["spec"], records[cell]) if cell not in flags else flags[cell]
        if given is not None:
            row["serve"] = " ".join(["vllm serve", row["checkpoint"], *given])
        rows.append(row)
    return pl.DataFrame(rows, schema=CELLS)


def layers_table(found: list[Evaluated]) -> pl.DataFrame:
    """One row per cell and linear: what quantization recorded there."""
    rows: list[dict[str, Any]] = []
    for cell, record in _records(found).items():
        for layer in record["quantized"]["layers"] if "quantized" in record else []:
            told = fallback_of(layer)
            rows.append({**cell.columns, **layer, **({"fallback": str(told)} if told else {})})
    return pl.DataFrame(rows, infer_schema_length=None)


def fallback_of(layer: Layer) -> Fallback | None:
    """Why a linear did not run as asked; None if it did."""
    return Fallback.of(layer["fallback"]) if "fallback" in layer else None


def serving_flags(spec: dict[str, Any], record: Exported) -> list[str] | None:
    """What ``vllm serve`` needs for a checkpoint by the choice table, on a GPU or else on a CPU; None: it does not."""
    layout, others = Layout.of(spec), "theirs" in record
    for backend in SERVERS:
        chosen, read = served(backend, layout, record["model_type"])
        if chosen == backend and others and record["format"] in foreign.formats(backend):
            return []
        if chosen == backend and record["format"] in (read := {"float": [], **read}):
            return read[record["format"]]
    return None


def _records(found: list[Evaluated]) -> dict[Cell, Reported]:
    """What each cell's results say of it; all of a cell's say the same."""
    return {one.cell: one.content["cell"] for one in reversed(found)}


def _flags(found: list[Evaluated]) -> dict[Cell, list[str]]:
    served = (one for one in found if one.content["backend"].startswith("vllm"))
    return {one.cell: one.content["spec"]["serves"][one.content["export"]] for one in served}


def _cell_row(cell: Cell, spec: dict[str, Any], record: Reported) -> dict[str, Any]:
    row: dict[str, Any] = {**cell.columns}
    bits = spec["scheme"]["bits"]
    row |= {"bits": None if bits == "mixed" else bits, "group_size": spec["scheme"]["group_size"]}
    row["number"] = spec["scheme"].get("number", INTEGER)
    row |= {"format": record["format"], "served_bytes": record["weight_bytes"]}
    row |= {"structure": members("models/adapters")[record["adapter"]].get("STRUCTURE", record["adapter"])}
    row |= {"dtype": record["dtype"], "n_parameters": record["n_parameters"], "fallbacks": []}
    row["checkpoint_bytes"] = record["packed_weight_bytes"]
    row["checkpoint_bits_per_parameter"] = 8 * record["packed_weight_bytes"] / record["n_parameters"]
    if "theirs" in record:
        return row | _their_columns(record["theirs"], record["weight_bytes"])
    if spec["calibration"] is None:
        bits = BITS.get(record["dtype"], 16)
        return row | {"bits": bits, "bits_per_weight": float(bits), "strategy": [], "propagate": False}
    made, recipe = record["quantized"], Recipe.of(spec["method"])
    return row | {
        "strategy": recipe.strategy,
        "propagate": recipe.propagate,
        "range": range_of(recipe.range),
        "dense": record["reason"] or record.get("dense_part"),
        "bits_per_weight": 8 * made["packed_bytes"] / made["n_weights"],
        "quantize_seconds": made["seconds"],
        "peak_memory_bytes": made["peak_memory_bytes"],
        "proxy_loss": sum(layer["proxy_loss"] for layer in made["layers"]),
        "fallbacks": [
            f"{one['linear']}: {Fallback.of(one['fallback'])}" for one in made["layers"] if "fallback" in one
        ],
        "added_bytes": made["added_bytes"],
        "float_bytes": made["float_bytes"],
    }


def _their_columns(told: Theirs, whole: int) -> dict[str, Any]:
    """What is known of a checkpoint that somebody else made; a method and its calibration are not."""
    widths = told["widths"]
    return {
        "theirs": f"{told['told']}; method and calibration unknown",
        "strategy": [THEIRS],
        "bits": widths[0] if len(widths) == 1 else None,
        "group_size": told["group_size"],
        "number": told["number"],
        "bits_per_weight": 8 * told["quantized_bytes"] / told["n_weights"],
        "float_bytes": whole - told["quantized_bytes"],
    }


def range_of(member: Member) -> str:
    """A range's name, with the parameters that are not its defaults."""
    defaults = members("ranges")[member.name].get("DEFAULTS", {})
    changed = [f"{key} {value}" for key, value in member.parameters.items() if value != defaults.get(key)]
    return f"{member.name} ({', '.join(changed)})" if changed else member.name
