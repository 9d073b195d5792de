"""The GPU benchmark runs anywhere on a tiny shape and says what it measured."""

from __future__ import annotations

import csv
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from scripts import script

STAGES = script("quantizing/clock").STAGES
OF_OTHERS = {"candidates", "rotations"}  # awq's and quarot's, which have no row here
PART = r"([A-Za-z][A-Za-z ]*) [\d.]+"
SCRIPT = Path(__file__).parents[3] / "benchmarks/gpu.py"


@pytest.mark.parametrize("shape", ["tiny", "tiny-mixtral"])
def test_a_tiny_shape_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shape: str
) -> None:
    out = tmp_path / "gpu.csv"
    settings = (
        f"--shape {shape} --device cpu --layers 2 --samples 8 --length 32 --batch-size 4 --group-size 32 --epochs 1"
    )
    rows = "--rows check,shared,propagated,cached --methods gptq,quip"
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *settings.split(), *rows.split(), "--out", str(out)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        torch.set_grad_enabled(True)
    with open(out, newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [row["row"] for row in found] == ["shared", "propagated", "cached gptq", "cached quip"]
    assert all(float(row["whole_model_s"]) > 0 and row["layers_measured"] == "2" for row in found)
    printed = capsys.readouterr().out
    assert "codes that differ 0.00e+00" in printed  # the twin against itself
    told = {name for line in re.findall(r"ms/layer on the device: (.*)", printed) for name in re.findall(PART, line)}
    assert told == set(STAGES) - OF_OTHERS, "a part whose function nobody calls by that name"


def test_training_of_few_epochs_is_scaled_by_what_it_consists_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.csv"
    settings = "--shape tiny --device cpu --layers 1 --samples 4 --length 16 --batch-size 4 --group-size 32 --epochs 2"
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *settings.split(), "--rows", "omniquant", "--out", str(out)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        torch.set_grad_enabled(True)
    printed = capsys.readouterr().out
    told = r"(\d+) steps of ([\d.]+) ms, (\d+) looks at all sequences of ([\d.]+) ms, ([\d.]+) s of the rest"
    ((steps, step, looks, look, rest),) = re.findall(told, printed)
    assert (steps, looks) == ("8", "4")
    assert "scaled to 20 epochs, 80 steps and 7 looks" in printed
    with open(out, newline="") as stream:
        (row,) = csv.DictReader(stream)
    expected = float(rest) + (80 * float(step) + 7 * float(look)) / 1000
    assert float(row["s_per_layer"]) == pytest.approx(expected, rel=0.05)
