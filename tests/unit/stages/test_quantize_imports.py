"""A cell that runs no model does not import what would run one: seconds of every job."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from clone import REPOSITORY

from ptqbench.normalize import normalize

RECIPES = {
    "gptq": {"rounding": "gptq"},
    "awq+gptq": {"transform": "salience", "range": "search", "rounding": "gptq"},
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "quarot+gptq": {"transform": {"rotation": "hadamard"}, "range": "mse", "rounding": "gptq"},
    "smoothquant": {"transform": "smooth", "activations": "int8"},
    "magr+gptq": {"transform": "magr", "rounding": "gptq"},
}
LOADED = ["ptqbench.stages.quantize", "ptqbench.drive.cell", "ptqbench.models.shown", "ptqbench.models.checkpoint"]


@pytest.mark.parametrize("name", RECIPES)
def test_no_transformers(name: str) -> None:
    needed = [*LOADED, *normalize(name, RECIPES[name]).modules]
    found = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(needed)}, sys; print('transformers' in sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"
