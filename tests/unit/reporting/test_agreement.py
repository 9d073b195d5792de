"""Served evaluations meet the twin of the same codes and windows, and are compared token by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from clone import REPOSITORY
from handmade import result

from ptqbench import spec
from ptqbench.errors import UserError
from ptqbench.formats.choice import formats
from ptqbench.plan import Plan
from ptqbench.reporting.agreement import absent, compare, page, pairs, table


def preset() -> list[dict[str, Any]]:
    """The evaluations of the preset, as the workflow plans them."""
    config = yaml.safe_load((REPOSITORY / "workflow/presets/serving.yaml").read_text())
    plan = Plan(config, REPOSITORY)
    return [
        {"cell": list(cell), "suite": suite, "spec": spec.evaluate_spec(config, *cell, suite)}
        for cell, suite in plan.evaluations
    ]


def logprobs(seed: int, shift: float = 0.0) -> list[list[float]]:
    drawn = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn - 4 + shift).tolist()


def write(evaluation: dict[str, Any], root: Path, values: list[list[float]]) -> None:
    mean = -sum(map(sum, values)) / sum(map(len, values))
    row = {"task": "wikitext2", "metric": "perplexity", "value": math.exp(mean), "logprobs": values}
    file = root / "eval" / "/".join(evaluation["cell"]) / f"{evaluation['suite']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    served = {"server": "vllm 0.0"} if evaluation["spec"]["backend"] != "transformers" else {}
    cell = {"spec": evaluation["spec"], "export": evaluation["spec"]["format"], "device": "a GPU"}
    result(file, {**cell, "rows": [row, {"task": "wikitext2", "metric": "bits_per_byte"}], **served})


def test_the_preset_has_a_twin_for_every_format_that_a_gpu_serves() -> None:
    found = pairs(preset())
    for served, twin in found:
        ours, theirs = served["spec"], twin["spec"]
        assert (ours["backend"], theirs["backend"]) == ("vllm-cuda", "transformers")
        assert theirs["format"] in ("float", "dense") or ours["method"]["activations"] == "int8"
        assert ours["codes" if "codes" in ours else "format"] == theirs["codes" if "codes" in theirs else "format"]
    mixed = [one["spec"] for one, _ in found if one["spec"]["scheme"]["bits"] == "mixed"]
    assert [(one["format"], one["scheme"]["choices"]) for one in mixed] == [
        ("compressed_tensors", [2, 3, 4]),
        ("compressed_tensors", [4, 8]),
    ]
    kept = [one["spec"] for one, _ in found if one["spec"]["scheme"]["group_size"] == 128]
    kept = [one for one in kept if one not in mixed]
    seen = {(one["format"], one["scheme"]["bits"], one["scheme"]["symmetric"]) for one in kept}
    expected = {
        (name, bits, symmetric)
        for bits in (2, 3, 4, 8)
        for symmetric in (False, True)
        for name in formats("vllm-cuda", spec.Layout(bits, 128, symmetric))
    }
    assert expected - seen <= {("dense", bits, True) for bits in (2, 3, 4, 8)}, "dense is dense, with any zero-point"
    assert seen <= expected


def test_the_table(tmp_path: Path) -> None:
    schemes = ("4s-dense", "4s-gptq", "48a-dense", "48a-compressed")
    kept = {("gptq", scheme) for scheme in schemes} | {("float", "float"), ("gptq-a8", "w8a8")}
    evaluations = [one for one in preset() if tuple(one["cell"][2:4]) in kept]
    for index, one in enumerate(evaluations):
        write(one, tmp_path, logprobs(0, shift=0.01 * (one["cell"][3] == "4s-gptq" and index > 0)))
    found = table(list(reversed(evaluations)), tmp_path)
    assert found["format"].to_list()[0] == "float"
    assert found["format"].to_list().count("float") == 1
    assert set(found["format"]) == {"float", "auto", "gptq", "compressed_tensors"}
    assert found.filter(format="compressed_tensors")["bits"].to_list() == ["4+8"]
    row = found.filter(format="gptq").to_dicts()[0]
    assert row["abs Δ log p"] == pytest.approx(0.01)
    assert row["Δ log p"] == pytest.approx(0.01)
    assert row["difference %"] == pytest.approx(100 * (math.exp(-0.01) - 1))
    assert row["within"] is False
    assert row["tokens"] == 15
    assert found.filter(format="auto")["activations"].to_list() == ["int8"]
    assert found.filter(format="float")["within"].to_list() == [True]
    assert absent(evaluations, tmp_path) == []
    text = page(found, [])
    assert "pocket-llama, vllm 0.0, a GPU, wikitext2" in text
    assert text.count("\n| ") == 2 + 4


def test_a_server_that_failed_is_named(tmp_path: Path) -> None:
    evaluations = [one for one in preset() if one["cell"][3] in ("float", "4s-dense", "4s-gptq")]
    for one in evaluations:
        if one["cell"][3] != "4s-gptq":
            write(one, tmp_path, logprobs(0))
    assert table(evaluations, tmp_path)["format"].to_list() == ["float"]
    assert absent(evaluations, tmp_path) == ["pocket-llama/wikitext2/gptq/4s-gptq/served"]
    assert "Without a result: pocket-llama/wikitext2/gptq/4s-gptq/served." in page(
        table(evaluations, tmp_path), absent(evaluations, tmp_path)
    )


def test_measures_of_a_pair() -> None:
    ours = {"value": 10.0, "logprobs": [[-1.0, -2.0], [-3.0, -4.0]]}
    theirs = {"value": 10.04, "logprobs": [[-1.1, -1.9], [-3.0, -4.2]]}
    found = compare(ours, theirs)
    differences = torch.tensor([0.1, -0.1, 0.0, 0.2], dtype=torch.float64)
    assert found["abs Δ log p"] == pytest.approx(0.1)
    assert found["Δ log p"] == pytest.approx(differences.mean().item())
    assert found["± stderr"] == pytest.approx(differences.std().item() / 2)
    assert found["difference %"] == pytest.approx(-0.3984, abs=1e-4)
    assert found["within"] is True
    with pytest.raises(ValueError, match="shorter"):
        compare(ours, {**theirs, "logprobs": [[-1.0, -2.0], [-3.0]]})


def test_what_cannot_be_compared() -> None:
    evaluations = preset()
    with pytest.raises(UserError, match=r"4a-compressed has no twin for suite 'served'"):
        pairs([one for one in evaluations if one["cell"][3] != "4a-dense"])
    for one in evaluations:
        one["spec"]["suite"].pop("keep_logprobs")
    with pytest.raises(UserError, match="nothing to compare: set keep_logprobs"):
        pairs(evaluations)
