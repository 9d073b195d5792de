"""The benchmark of scattered cells asks the workflow for what it says (that scattering works: tests/workflow)."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml
from clone import REPOSITORY

from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.plan import Plan


@pytest.mark.parametrize(("method", "scatter"), [("magr+gptq", 1), ("quip", 2), ("gptq", 4)])
def test_its_config_can_be_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, scatter: int) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    benchmark = runpy.run_path(str(REPOSITORY / "benchmarks/scatter.py"))
    benchmark["make_workspace"](tmp_path, "tiny", 4, "cpu", 2 * 4 * 64)
    benchmark["configure"](tmp_path, [method], 4, 64, 32, scatter=scatter)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    plan = Plan(config, tmp_path)
    assert Cell("model", "text", method, "w4") in plan.cells
    assert benchmark["STATISTICS"] in [str(path) for path in plan.outputs(Path("results"))]
    with pytest.raises(UserError, match="scatter"):  # so it is heeded
        Plan({**config, "scatter": scatter + 1, "methods": {method: {"rounding": "gptaq"}}}, tmp_path)
