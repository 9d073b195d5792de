"""The GPU benchmark runs anywhere on a tiny shape and says what it measured."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"


@pytest.mark.parametrize("shape", ["tiny", "tiny-mixtral"])
def test_a_tiny_shape_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shape: str
) -> None:
    out = tmp_path / "gpu.csv"
    settings = (
        f"--shape {shape} --device cpu --layers 2 --samples 8 --length 32 --batch-size 4 --group-size 32 --epochs 1"
    )
    rows = "--rows check,shared,propagated,cached --methods gptq,quip"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *settings.split(), *rows.split(), "--out", str(out)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        torch.set_grad_enabled(True)
    with open(out, newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [row["row"] for row in found] == ["shared", "propagated", "cached gptq", "cached quip"]
    assert all(float(row["whole_model_s"]) > 0 and row["layers_measured"] == "2" for row in found)
    assert "codes that differ 0.00e+00" in capsys.readouterr().out  # the twin against itself
