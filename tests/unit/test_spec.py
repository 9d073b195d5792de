"""What each artifact depends on."""

from __future__ import annotations

from typing import Any

import pytest
from clone import config

from ptqbench import spec
from ptqbench.manifest import canonical

CELL = ("tiny", "text", "gptq", "w4g32")


def specs(config: dict[str, Any]) -> dict[str, str]:
    """The cache key of every stage for one cell and suite."""
    return {
        "model": canonical(spec.model_spec(config, "tiny")),
        "calibration": canonical(spec.calibration_spec(config, "tiny", "text")),
        "statistics": canonical(spec.statistics_spec(config, "tiny", "text")),
        "quantize": canonical(spec.quantize_spec(config, *CELL)),
        "export": canonical(spec.export_spec(config, *CELL)),
        "evaluate": canonical(spec.evaluate_spec(config, *CELL, "perplexity")),
    }


@pytest.mark.parametrize(
    ("keys", "value", "first"),
    [
        (("models", "tiny", "path"), "elsewhere", "model"),
        (("calibration", "text", "seed"), 7, "calibration"),
        (("calibration", "text", "samples"), 7, "calibration"),
        (("methods", "gptq", "range"), "mse", "quantize"),
        (("schemes", "w4g32", "symmetric"), True, "quantize"),
        (("export", "format"), "dense", "export"),
        (("suites", "perplexity", "limit"), 7, "evaluate"),
        (("methods", "rtn", "range"), "mse", None),
        (("schemes", "w2g32", "bits"), 3, None),
        (("suites", "pairs", "limit"), 7, None),
        (("grid",), [], None),
    ],
)
def test_a_change_reaches_its_stage_and_all_after_it(keys: tuple[str, ...], value: Any, first: str | None) -> None:
    before, changed = specs(config()), config()
    changed["export"] = {"format": "auto"}
    assert specs(changed) == before
    section = changed
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    stages = list(before)
    stale = stages[stages.index(first) :] if first else []
    assert [stage for stage, found in specs(changed).items() if found != before[stage]] == stale


def test_the_baseline_depends_on_the_model_alone() -> None:
    baseline = ("tiny", spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
    found = spec.quantize_spec(config(), *baseline)
    assert found["calibration"] is None
    assert found["scheme"]["bits"] == 16
    assert found["method"]["rounding"] is None


def test_statistics_and_formats_are_files() -> None:
    assert spec.statistics() == ["hessian", "magnitude", "moments"]
    assert {"compressed_tensors", "dense"} <= set(spec.formats())
    assert not {"bitstream", "checkpoint"} & set(spec.formats())
