"""From artifacts to the two tables; artifacts are written by hand, so that every number is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from handmade import codes, packed, result

from ptqbench.errors import DamagedArtifact, UserError
from ptqbench.reporting.collect import (
    CELLS,
    ITEMS,
    RESULTS,
    cells_table,
    items_table,
    layers_table,
    results_table,
    with_serve_flags,
)
from ptqbench.spec import export_spec

CONFIG: dict[str, Any] = {
    "models": {"m": {"path": "p"}},
    "calibration": {"c": {"corpus": "t.txt", "samples": 1, "sequence_length": 8}},
    "schemes": {"w4": {"bits": 4}},
    "methods": {"gptq": {"rounding": "gptq", "propagate": True}},
}
CELL, BASELINE = ["m", "c", "gptq", "w4"], ["m", "none", "float", "bf16"]
LAYERS = [
    {"linear": "0.q", "proxy_loss": 1.5, "seconds": 2.0},
    {"linear": "0.k", "proxy_loss": 0.5, "seconds": 1.0, "fallback": "nearest: H cannot be factored"},
]


def planned(cell: list[str]) -> dict[str, Any]:
    return {"cell": cell, "spec": export_spec(CONFIG, *cell), "family": "f"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Artifacts of a baseline and a cell."""
    quantized = tmp_path / "quantized" / "/".join(CELL) / "manifest.json"
    codes(quantized, {}, LAYERS, packed_bytes=450, n_weights=800, seconds=7.0, peak_memory_bytes=10)
    sizes = {"weight_bytes": 2000, "packed_weight_bytes": 900}
    for cell, record in (
        (CELL, {"reason": "no kernel", "format": "dense", **sizes}),
        (BASELINE, {"reason": None, "format": "float", "checkpoint": None, **dict.fromkeys(sizes, 1600)}),
    ):
        packed(tmp_path / "packed" / "/".join(cell) / "manifest.json", planned(cell)["spec"], **record)
    return tmp_path


def test_cells(root: Path) -> None:
    table = cells_table([planned(BASELINE), planned(CELL)], root)
    assert dict(table.schema) == CELLS
    baseline, cell = table.to_dicts()
    assert cell == {
        **dict(zip(("model", "calibration", "method", "scheme"), CELL, strict=True)),
        "strategy": ["compensation"],
        "bits": 4,
        "group_size": -1,
        "bits_per_weight": 4.5,
        "checkpoint_bytes": 900,
        "quantize_seconds": 7.0,
        "peak_memory_bytes": 10,
        "proxy_loss": 2.0,
        "fallbacks": ["0.k: nearest: H cannot be factored", "served dense: no kernel"],
        "propagate": True,
        "structure": "dense",
        "family": "f",
        "format": "dense",
        "served_bytes": 2000,
        "checkpoint": str(root / "packed" / "/".join(CELL) / "checkpoint"),
        "serve_flags": None,
    }
    assert (baseline["bits"], baseline["bits_per_weight"], baseline["checkpoint_bytes"]) == (16, 16.0, 1600)
    assert (baseline["strategy"], baseline["fallbacks"], baseline["propagate"]) == ([], [], False)
    assert baseline["proxy_loss"] is None


def test_flags_are_those_of_the_server_that_ran(root: Path) -> None:
    cells = cells_table([planned(BASELINE), planned(CELL)], root)
    served = {**evaluation(), "spec": {"serves": {"dense": ["--flag"]}}, "backend": "vllm-cuda"}
    for cell, content in ((CELL, served), (BASELINE, evaluation())):
        result(root / "eval" / "/".join(cell) / "s.json", content)
    plan = [{"cell": CELL, "suite": "s", "spec": served["spec"]}, {"cell": BASELINE, "suite": "s", "spec": {"k": 1}}]
    assert with_serve_flags(cells, plan, root)["serve_flags"].to_list() == [None, ["--flag"]]


def test_layers(root: Path) -> None:
    table = layers_table([planned(BASELINE), planned(CELL)], root)
    assert table.select("method", "linear", "proxy_loss").rows() == [("gptq", "0.q", 1.5), ("gptq", "0.k", 0.5)]


def test_an_artifact_of_another_config_is_refused(root: Path) -> None:
    other = planned(CELL)
    other["spec"] = {**other["spec"], "format": "dense"}
    with pytest.raises(UserError, match="was made from another configuration"):
        cells_table([other], root)


def evaluation(value: float = 7.0) -> dict[str, Any]:
    rows = [{"task": "t", "metric": "perplexity", "value": value, "stderr": math.nan, "n": 3, "items": [2.0, 1.0, 0]}]
    rows.append({"task": "t", "metric": "bits_per_byte", "value": 1.0, "stderr": math.nan, "n": 3})
    return {"spec": {"k": 1}, "backend": "transformers", "export": "dense", "rows": rows}


def test_results(tmp_path: Path) -> None:
    result(tmp_path / "eval" / "/".join(CELL) / "s.json", evaluation())
    table = results_table([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)
    assert dict(table.schema) == RESULTS
    assert table.drop("stderr").row(0) == (*CELL, "transformers", "dense", "s", "t", "perplexity", 7.0, 3)
    assert len(table) == 2
    assert table["stderr"].is_nan().all()
    with pytest.raises(UserError, match="was made from another configuration"):
        results_table([{"cell": CELL, "suite": "s", "spec": {"k": 2}}], tmp_path)


def test_items_are_numbered(tmp_path: Path) -> None:
    result(tmp_path / "eval" / "/".join(CELL) / "s.json", evaluation())
    table = items_table([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)
    assert dict(table.schema) == ITEMS
    shared = (*CELL, "s", "t", "perplexity")
    assert table.rows() == [(*shared, 0, 2.0), (*shared, 1, 1.0), (*shared, 2, 0.0)]


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    assert dict(results_table([], tmp_path).schema) == RESULTS
    assert dict(cells_table([], tmp_path).schema) == CELLS
    assert dict(items_table([], tmp_path).schema) == ITEMS


def test_a_garbled_result_is_named_and_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "eval" / "/".join(CELL) / "s.json"
    result(file, evaluation())
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(DamagedArtifact, match=r"s\.json has no digest"):
        results_table([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)
    with pytest.raises(DamagedArtifact, match=r"s\.json is missing"):
        results_table([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)


def test_values_keep_their_precision(tmp_path: Path) -> None:
    result(tmp_path / "eval" / "/".join(CELL) / "s.json", evaluation(1 / 3))
    table = results_table([{"cell": CELL, "suite": "s", "spec": {"k": 1}}], tmp_path)
    table.write_parquet(tmp_path / "r.parquet")
    assert pl.read_parquet(tmp_path / "r.parquet")["value"][0] == 1 / 3
