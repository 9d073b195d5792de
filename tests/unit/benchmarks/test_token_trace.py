"""A token's kernels are read from a trace as the profiler writes it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import script


@pytest.fixture(scope="module")
def trace() -> ModuleType:
    return script("token_trace")


def steps(count: int, layers: int) -> list[dict[str, Any]]:
    """Steps of 100 µs: per layer a product of 20 and a write of 5; what the host does, and an event without a time."""
    found: list[dict[str, Any]] = [{"ph": "M", "name": "process_name"}]
    for step in range(count):
        start = 1000.0 + 100 * step
        found.append({"cat": "cpu_op", "name": "aten::mm", "ts": start, "dur": 90})
        for layer in range(layers):
            at = start + 30 * layer
            found.append({"cat": "kernel", "name": "product", "ts": at, "dur": 20})
            found.append({"cat": "kernel", "name": "vllm::reshape_and_cache_flash_kernel", "ts": at + 20, "dur": 5})
    return found


def test_what_a_token_takes(trace: ModuleType, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "rank0.1.pt.trace.json.gz", "wt") as stream:
        json.dump({"traceEvents": steps(4, 2)}, stream)
    table = trace.per_token(trace.events(tmp_path), layers=2)
    assert table["kernel"].to_list() == ["product", "vllm::reshape_and_cache_flash_kernel", "(between kernels)"]
    assert table["calls"].to_list() == [2, 2, 0]
    # from the first kernel to the last: 3 steps of 100 µs and 55 of the fourth, of which 4 x 50 are kernels
    assert table["microseconds"].to_list() == pytest.approx([40, 10, (355 - 200) / 4])


def test_parts_of_steps_are_refused(trace: ModuleType) -> None:
    with pytest.raises(ValueError, match="3 kernels reshape_and_cache of 2 layers"):
        trace.per_token(steps(3, 1), layers=2)


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_traces_is_refused(trace: ModuleType, tmp_path: Path, count: int) -> None:
    for index in range(count):
        (tmp_path / f"rank0.{index}.pt.trace.json.gz").touch()
    with pytest.raises(ValueError, match=f"the server wrote {count} traces"):
        trace.events(tmp_path)
