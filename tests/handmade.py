"""Records written by hand: what a test does not care about is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.manifest import finish, write_result
from ptqbench.records import Codes, Packed

KEY: dict[str, Any] = {"spec": {}, "code": {}, "versions": {}, "inputs": {}, "sources": {}}
MEASURED: dict[str, Any] = {"seconds": 1.0, "peak_memory_bytes": 1, "device": "cpu"}
REPORTED: dict[str, Any] = {"code": {}, "versions": {}, "checkpoint": None, "adapter": "llama", "model_type": "llama"}
REPORTED |= {"format": "float", "reason": None, "weight_bytes": 1, "packed_weight_bytes": 1, "dtype": "float32"}
REPORTED |= {"n_parameters": 1}
RESULT: dict[str, Any] = {**KEY, **MEASURED, "cell": REPORTED, "backend": "transformers", "export": "float"}
ROW: dict[str, Any] = {"stderr": 0.0, "n": 1, "value": 0.0}
LAYER: dict[str, Any] = {"site": "s", "proxy_loss": 0.0, "nearest_proxy_loss": 0.0, "snr_db": 0.0}
SIZES = {"packed_bytes": 1, "n_weights": 1, "float_bytes": 1, "added_bytes": 0}
CODES: dict[str, Any] = {**MEASURED, **SIZES, "layers": [], "transforms": []}
PACKED: dict[str, Any] = {**MEASURED, "checkpoint": "checkpoint", "format": "dense", "reason": None}
PACKED |= {"adapter": "llama", "model_type": "llama", "dtype": "float32", "n_parameters": 1}


def result(file: Path, content: dict[str, Any]) -> None:
    """An evaluation's result."""
    rows = [{**ROW, **row} for row in content.get("rows", [])]
    write_result(file, {**RESULT, **content, "rows": rows})


def codes(manifest: Path, spec: dict[str, Any], layers: list[dict[str, Any]], **record: Any) -> None:
    """A cell's manifest."""
    record = {**CODES, "config": {}, "widths": {}, **record, "layers": [{**LAYER, **layer} for layer in layers]}
    finish(manifest, Codes, {**KEY, "spec": spec}, [], **record)


def packed(manifest: Path, spec: dict[str, Any], **record: Any) -> None:
    """A checkpoint's manifest."""
    finish(manifest, Packed, {**KEY, "spec": spec}, [], **{**PACKED, **record})
