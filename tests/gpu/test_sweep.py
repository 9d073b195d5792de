"""The sweep tells right from wrong; on a GPU, what the choice table offers is read right at every width."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from gpu.sweep import Case, cases, expected, name_of, row, sweep, write

from ptqbench.devices import visible_gpus
from ptqbench.evaluation.runtime import own_vllm
from ptqbench.formats.choice import formats

OFFERED = [Case(hidden, bits, 128, True, "v1") for bits in (3, 4) for hidden in (256, 512)]


@pytest.mark.gpu
@pytest.mark.skipif(not visible_gpus(), reason="no CUDA device")
@pytest.mark.skipif(own_vllm("vllm-cuda") is None, reason="this Python has no vLLM")
def test_what_is_offered_is_read_right(tmp_path: Path) -> None:
    assert all("gptq" in formats("vllm-cuda", case.layout) for case in OFFERED)
    rows = sweep([Case(256), *OFFERED], tmp_path / "sweep.csv", sys.executable, gpu=True, seconds=500)
    assert len(rows) == 1 + len(OFFERED)
    assert all(row["right"] for row in rows), rows


def test_it_tells_right_from_wrong(tmp_path: Path) -> None:
    """Zero-points one higher are far from the twin; what differs by rounding is near."""
    case = Case(64, 3, 32, False, "v2")
    packed, *twins = write(case, tmp_path)
    assert (packed / "model.safetensors").is_file()
    twin, shifted = map(expected, twins)
    assert row(case, twin + 0.02 * torch.randn(twin.shape), twin, shifted)["right"]
    wrong = row(case, shifted, twin, shifted)
    assert not wrong["right"]
    assert wrong["served"] == pytest.approx(wrong["shifted"])
    assert wrong["shifted"] > 0.3
    died = row(case, "RuntimeError: no", twin, shifted)
    assert (died["right"], died["error"], died["served"]) == (False, "RuntimeError: no", None)


def test_every_case_once_and_the_telling_ones_first() -> None:
    found = cases()
    assert len(set(found)) == len(found) == 1 + 54 + 27
    assert found[1:5] == [*(Case(hidden, 3) for hidden in (256, 512, 1024)), Case(256, 3, 128, True, "v1")]
    assert {name_of(vars(case)) for case in found} == {case.name for case in found}
    assert [Case(256, 3).options, Case(256, 4, symmetric=True).options] == [{"quantization": "humming"}, {}]
