"""From artifacts to the two tables; artifacts are written by hand, so that every number is known."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from handmade import LAYER
from handmade import result as write_result

from ptqbench.errors import DamagedArtifact, UserError
from ptqbench.formats.choice import table as choice
from ptqbench.members import members
from ptqbench.recipe import Member
from ptqbench.reporting.results import (
    CELLS,
    ITEMS,
    RESULTS,
    SERVERS,
    Evaluated,
    cells_table,
    items_table,
    layers_table,
    range_of,
    read_results,
    results_table,
    serving_flags,
)
from ptqbench.spec import export_spec

CONFIG: dict[str, Any] = {
    "models": {"m": {"path": "p"}},
    "calibration": {"c": {"corpus": "t.txt", "samples": 1, "sequence_length": 8}},
    "schemes": {"w4": {"bits": 4}},
    "methods": {"gptq": {"rounding": "gptq", "propagate": True}},
}
CELL, BASELINE = ["m", "c", "gptq", "w4"], ["m", "none", "float", "float"]
UNFACTORABLE = {"kind": "nearest", "words": "H cannot be factored"}
LAYERS = [
    {"linear": "0.q", "proxy_loss": 1.5, "seconds": 2.0},
    {"linear": "0.k", "proxy_loss": 0.5, "seconds": 1.0, "fallback": UNFACTORABLE},
]


def planned(cell: list[str]) -> dict[str, Any]:
    return {"cell": cell, "spec": export_spec(CONFIG, *cell), "family": "f"}


def recorded(cell: list[str], **record: Any) -> dict[str, Any]:
    """What a result says of its cell."""
    made = {
        "packed_bytes": 450,
        "n_weights": 800,
        "seconds": 7.0,
        "peak_memory_bytes": 10,
        "device": "cpu",
        "layers": [{**LAYER, **one} for one in LAYERS],
    }
    float_ = cell == BASELINE
    return {
        "code": {"a": "1"},
        "versions": {},
        "format": "float" if float_ else "dense",
        "reason": None if float_ else "no kernel",
        "checkpoint": None if float_ else "checkpoint",
        "weight_bytes": 1600 if float_ else 2000,
        "packed_weight_bytes": 1600 if float_ else 900,
        "adapter": "llama",
        "model_type": "llama",
        "dtype": "float32",
        "n_parameters": 1000,
        **({} if float_ else {"quantized": {**made, "added_bytes": 30, "float_bytes": 130}}),
        **record,
    }


def result(cell: list[str], value: float = 7.0, **more: Any) -> dict[str, Any]:
    rows = [{"task": "t", "metric": "perplexity", "value": value, "stderr": math.nan, "n": 3, "items": [2.0, 1.0, 0]}]
    rows[0]["window"] = 64
    rows.append({"task": "t", "metric": "bits_per_byte", "value": 1.0, "stderr": math.nan, "n": 3})
    rows.append({"task": "g", "metric": "acc", "value": 0.5, "n": 3, "asked": True, "leaves": {"x": 0.25, "y": 0.75}})
    made = {"spec": {"k": 1}, "backend": "transformers", "export": "dense", "rows": rows, "cell": recorded(cell)}
    return made | more


def read(root: Path, *contents: tuple[list[str], dict[str, Any]], suite: str = "s") -> list[Evaluated]:
    """Write results and read them as the report does."""
    for cell, content in contents:
        write_result(root / "eval" / "/".join(cell) / f"{suite}.json", content)
    return read_results([{"cell": cell, "suite": suite, "spec": one["spec"]} for cell, one in contents], root)


def packed(root: Path) -> str:
    return str(root / "packed" / "/".join(CELL) / "checkpoint")


def test_cells(tmp_path: Path) -> None:
    found = read(tmp_path, (BASELINE, result(BASELINE)), (CELL, result(CELL)))
    of_seeds = {
        **planned(CELL),
        "expected_memory_bytes": {"cpu": 11, "gpu": 12},
        "seed": 3,
        "seeds_of": ["m", "c@seeds", "gptq", "w4"],
    }
    table = cells_table([planned(BASELINE), of_seeds], found, tmp_path)
    assert dict(table.schema) == CELLS
    baseline, cell = table.to_dicts()
    assert cell == {
        **dict(zip(("model", "calibration", "method", "scheme"), CELL, strict=True)),
        "strategy": ["compensation"],
        "bits": 4,
        "group_size": -1,
        "number": "integer",
        "bits_per_weight": 4.5,
        "checkpoint_bytes": 900,
        "quantize_seconds": 7.0,
        "peak_memory_bytes": 10,
        "expected_memory_bytes": 11,
        "theirs": None,
        "proxy_loss": 2.0,
        "fallbacks": ["0.k: nearest: H cannot be factored"],
        "propagate": True,
        "structure": "dense",
        "family": "f",
        "format": "dense",
        "served_bytes": 2000,
        "checkpoint": packed(tmp_path),
        "serve_flags": None,
        "serve": f"vllm serve {packed(tmp_path)}",
        "range": "minmax",
        "dtype": "float32",
        "dense": "no kernel",
        "n_parameters": 1000,
        "added_bytes": 30,
        "float_bytes": 130,
        "checkpoint_bits_per_parameter": 7.2,
        "seed": 3,
        "seeds_of": "m/c@seeds/gptq/w4",
    }
    assert baseline["seeds_of"] is None
    assert (baseline["bits"], baseline["bits_per_weight"], baseline["checkpoint_bytes"]) == (32, 32.0, 1600)
    assert (baseline["strategy"], baseline["fallbacks"], baseline["propagate"]) == ([], [], False)
    assert (baseline["proxy_loss"], baseline["dense"], baseline["dtype"]) == (None, None, "float32")


def test_flags_are_those_of_the_server_that_ran(tmp_path: Path) -> None:
    served = result(CELL, spec={"serves": {"dense": ["--flag"]}}, backend="vllm-cuda")
    found = read(tmp_path, (CELL, served), (BASELINE, result(BASELINE)))
    table = cells_table([planned(BASELINE), planned(CELL)], found, tmp_path)
    assert table["serve_flags"].to_list() == [None, ["--flag"]]
    assert table["serve"].to_list() == ["vllm serve p", f"vllm serve {packed(tmp_path)} --flag"]


def test_layers(tmp_path: Path) -> None:
    table = layers_table(read(tmp_path, (BASELINE, result(BASELINE)), (CELL, result(CELL))))
    assert table.select("method", "linear", "proxy_loss").rows() == [("gptq", "0.q", 1.5), ("gptq", "0.k", 0.5)]
    assert table["fallback"].to_list() == [None, "nearest: H cannot be factored"]


def test_ranges_are_told_with_what_is_not_their_default() -> None:
    assert range_of(Member("mse", members("ranges")["mse"].get("DEFAULTS", {}))) == "mse"
    assert range_of(Member("rms", {**members("ranges")["rms"]["DEFAULTS"], "reach": 2.4})) == "rms (reach 2.4)"


@pytest.mark.parametrize("backend", SERVERS)
def test_a_line_to_serve_is_told_of_what_the_table_serves_and_nothing_else(backend: str) -> None:
    """Every model type and layout of the table, against its rows read another way."""
    types = sorted({name for row in choice()[backend] for name in row.get("model_types", [])})
    seen = set()
    for model_type, bits, symmetric, group, activations in product(
        [*types, "llama"], (2, 3, 4, 8), (True, False), (-1, 128), ("none", "int8")
    ):
        scheme = {"bits": bits, "group_size": group, "symmetric": symmetric}
        spec = {"scheme": scheme, "method": {"transform": [], "activations": activations}}
        for form in ("compressed_tensors", "gptq", "awq", "dense"):
            told = serving_flags(spec, {"model_type": model_type, "format": form})
            if backend == "vllm-cuda" and told is not None and activations == "none":
                seen.add((model_type, form))
            if model_type == "llava_llama":
                assert told is None, "VILA is in neither"
    if backend == "vllm-cuda":
        assert ("llava", "compressed_tensors") in seen
        assert ("mamba", "compressed_tensors") not in seen
    asymmetric = {
        "scheme": {"bits": 3, "group_size": 128, "symmetric": False},
        "method": {"transform": [], "activations": "none"},
    }
    packed = {"model_type": "llava", "format": "compressed_tensors"}
    assert serving_flags(asymmetric, packed) is None
    assert serving_flags(asymmetric, {**packed, "format": "dense"}) == []


def test_results(tmp_path: Path) -> None:
    table = results_table(read(tmp_path, (CELL, result(CELL))))
    assert dict(table.schema) == RESULTS
    first = (*CELL, "transformers", "dense", "s", "t", "perplexity", 7.0, 3, 64, None, None, None, None)
    assert table.drop("stderr").row(0) == first
    assert table.drop("stderr").row(2)[-5:] == (None, True, ["x", "y"], [0.25, 0.75], None)
    assert len(table) == 3
    assert table["stderr"].head(2).is_nan().all()
    with pytest.raises(UserError, match="was made from another configuration"):
        read_results([{"cell": CELL, "suite": "s", "spec": {"k": 2}}], tmp_path)


def test_items_are_numbered(tmp_path: Path) -> None:
    table = items_table(read(tmp_path, (CELL, result(CELL))))
    assert dict(table.schema) == ITEMS
    shared = (*CELL, "s", "t", "perplexity")
    assert table.rows() == [(*shared, 0, 2.0), (*shared, 1, 1.0), (*shared, 2, 0.0)]


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert dict(results_table(found).schema) == RESULTS
    assert dict(cells_table([], found, tmp_path).schema) == CELLS
    assert dict(items_table(found).schema) == ITEMS


def test_a_garbled_result_is_named_and_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "eval" / "/".join(CELL) / "s.json"
    write_result(file, result(CELL))
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(DamagedArtifact, match=r"s\.json has no digest"):
        read_results([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)
    with pytest.raises(DamagedArtifact, match=r"s\.json is missing"):
        read_results([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)


def test_values_keep_their_precision(tmp_path: Path) -> None:
    table = results_table(read(tmp_path, (CELL, result(CELL, 1 / 3))))
    table.write_parquet(tmp_path / "r.parquet")
    assert pl.read_parquet(tmp_path / "r.parquet")["value"][0] == 1 / 3
