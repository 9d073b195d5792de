"""What each artifact depends on."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml
from clone import REPOSITORY, config

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
        (("models", "tiny", "family"), "llama", None),
        (("models", "tiny", "gpus"), 4, None),
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


STORED = {
    "rtn": "130a821bda52",
    "quip": "5e9a3208c8fd",
    "quarot+gptq-propagated": "486297fd26bb",
    "omniquant": "5ce811309dc4",
    "float": "434be7578bff",
}


@pytest.mark.parametrize("method", STORED)
def test_the_keys_of_the_default_config_are_those_of_before(method: str) -> None:
    """A key that moves without need makes everybody's cells anew."""
    default = {**yaml.safe_load((REPOSITORY / "config.yaml").read_text()), "backend": "transformers"}
    names = ("none", "float", "float") if method == "float" else ("wikitext2", method, "w3g128")
    key = canonical(spec.evaluate_spec(default, "pocket-llama", *names, "perplexity", "llama"))
    assert hashlib.sha256(key.encode()).hexdigest()[:12] == STORED[method]


def test_the_baseline_depends_on_the_model_alone() -> None:
    baseline = ("tiny", spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
    found = spec.quantize_spec(config(), *baseline)
    assert found["calibration"] is None
    assert found["scheme"]["bits"] == 16
    assert found["method"]["rounding"] is None


def test_statistics_are_files() -> None:
    assert spec.statistics() == ["hessian", "magnitude", "moments"]


def test_schemes_that_differ_in_their_format_share_their_codes() -> None:
    twins = config()
    twins["schemes"]["w4g32-dense"] = {"bits": 4, "group_size": 32, "format": "dense"}
    twin = (*CELL[:3], "w4g32-dense")
    assert spec.codes_scheme(twins, "w4g32-dense") == "w4g32"
    assert spec.export_spec(twins, *CELL) == spec.export_spec(config(), *CELL)
    packed, dense = spec.export_spec(twins, *CELL), spec.export_spec(twins, *twin)
    assert packed["codes"] == dense["codes"] == "w4g32"
    assert (packed["rows"][-1]["format"], dense["rows"][-1]["format"]) == ("compressed_tensors", "dense")
    assert spec.quantize_spec(twins, *CELL) == spec.quantize_spec(config(), *CELL)


def test_checkpoints_follow_the_backend_of_the_config_and_suites_their_own() -> None:
    before, changed = specs(config()), {**config(), "backend": "vllm-cuda"}
    assert [stage for stage, found in specs(changed).items() if found != before[stage]] == ["export", "evaluate"]
    suite = config()
    suite["suites"]["perplexity"]["backend"] = "vllm-cuda"
    assert [stage for stage, found in specs(suite).items() if found != before[stage]] == ["evaluate"]
    cell = ("tiny", "text", "gptq", "w2g32")
    assert spec.export_spec(config(), *cell)["rows"] != spec.export_spec(changed, *cell)["rows"]
    changed["schemes"]["w2g32"]["symmetric"] = True
    assert spec.evaluate_spec(changed, *cell, "perplexity")["serves"]["gptq"] == ["--quantization", "humming"]


def test_the_baseline_is_the_same_for_every_backend() -> None:
    baseline = ("tiny", spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
    assert spec.export_spec({**config(), "backend": "vllm-cuda"}, *baseline) == spec.export_spec(config(), *baseline)
    assert spec.evaluate_spec(config(), *baseline, "perplexity")["serves"] == {"float": []}


def test_the_commit_of_a_set_of_the_hub_is_part_of_what_reads_it() -> None:
    def of_the_hub() -> dict[str, Any]:
        found = config()
        found["calibration"]["text"]["corpus"] = "c4"
        found["suites"]["perplexity"]["corpora"] = {"a": "ptb", "b": "a.txt"}
        return found

    before = specs(of_the_hub())
    for name, first in (("c4", "calibration"), ("ptb", "evaluate"), ("pile", None)):
        changed = of_the_hub() | {"revisions": {name: "0" * 40}}
        stages = list(before)
        stale = stages[stages.index(first) :] if first else []
        assert [stage for stage, found in specs(changed).items() if found != before[stage]] == stale
        assert ("0" * 40 in specs(changed)["evaluate"]) is (first is not None)
    assert spec.calibration_spec(config(), "tiny", "text")["calibration"].get("revision", "none") == "none"
    diagnosed = {**of_the_hub(), "revisions": {"ptb": "0" * 40}}
    diagnosed["grid"][0]["diagnose"] = True
    assert spec.diagnose_spec(diagnosed, *CELL)["held_out"]["revision"] == "0" * 40
