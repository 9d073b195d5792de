"""Checkpoints of others that cannot be evaluated are refused in one line, before any work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clone import MODEL, Clone, one_cell
from codes import write_packed

from ptqbench import spec
from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.foreign_checks import stored
from ptqbench.formats.layout import Layout
from ptqbench.plan import Plan

THEIRS = Cell("tiny", "unknown", "other", "theirs")


@pytest.fixture
def clone(blank: Clone, tmp_path: Path) -> Clone:
    """A working directory with a checkpoint of others in ``theirs``."""
    made = blank.copy(tmp_path / "clone")
    write_packed(made.root / MODEL, made.root / "theirs", "gptq", Layout(4, 32, True, zeros="v1"))
    return made


def plan(clone: Clone, line: dict[str, Any] | None = None, **changed: Any) -> Plan:
    lines = {"other": {"path": "theirs", "of": "tiny", **(line or {})}}
    return Plan({**one_cell(), "checkpoints": lines, "backend": "transformers", **changed}, clone.root)


def test_every_suite_of_its_model_evaluates_it(clone: Clone) -> None:
    found = plan(clone, grid=[*one_cell()["grid"], {**one_cell()["grid"][0], "suites": ["pairs"], "diagnose": False}])
    assert [suite for cell, suite in found.evaluations if cell == THEIRS] == ["perplexity", "pairs"]
    assert found.cells[1] == THEIRS
    assert THEIRS not in found.diagnosed
    assert set(found.checkpoint("other")) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not [path for path in found.outputs(Path("results")) if "quantized/tiny/unknown" in path.as_posix()]
    made = spec.evaluate_spec(found.config, *THEIRS, "perplexity")
    assert made["checkpoint"] == {"name": "other", "trust_remote_code": False, "path": "theirs"}


def test_one_of_the_hub_is_planned_without_it(clone: Clone) -> None:
    line = {"other": {"hub": "someone/quantized", "revision": "0" * 40, "of": "tiny"}}
    found = plan(clone, checkpoints=line)
    assert THEIRS in found.cells
    assert found.checkpoint("other") == {}


@pytest.mark.parametrize(
    ("line", "changed", "said"),
    [
        ({"of": "tinny"}, {}, r"checkpoints\.other\.of is 'tinny': did you mean 'tiny'"),
        ({"path": "resources/models/tiny"}, {}, "has no quantization_config .* a float model belongs under models"),
        ({"path": "nowhere"}, {}, r"checkpoints\.other\.path: there is no folder .*nowhere"),
        ({"revision": "0" * 40, "hub": "a/b"}, {}, "give either path or hub with revision"),
        ({}, {"methods": {"gptq": {"rounding": "gptq"}, "other": {}}}, "has the name of one of the methods: rename"),
        ({}, {"models": {"tiny": {"path": MODEL}, "other": {"path": MODEL}}}, "the name of one of the models: rename"),
        (
            {"of": "second"},
            {"models": {"tiny": {"path": MODEL}, "second": {"path": MODEL}}},
            "is 'second', which no grid entry names",
        ),
    ],
)
def test_lines_that_cannot_be_meant(clone: Clone, line: dict[str, Any], changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        plan(clone, line, **changed)
    assert str(error.value).count("\n") == 0


def edited(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["quantization_config"].pop("quant_method"), "names no quant_method"),
        (lambda c: c["quantization_config"].update(quant_method="modelopt"), "set backend to vllm-cuda"),
        (lambda c: c["quantization_config"].update(quant_method="bitsandbytes"), "the package bitsandbytes, and this"),
        (lambda c: c["quantization_config"].update(meta=3), "cannot be understood"),
        (lambda c: c.update(vocab_size=7), "has a vocab_size of 7, and model 'tiny' of"),
        (lambda c: c.update(model_type="mistral"), "has a model_type of mistral, and model 'tiny' of llama"),
    ],
)
def test_folders_that_no_suite_can_load(clone: Clone, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    edited(clone.root / "theirs/config.json", change)
    with pytest.raises(UserError, match=said) as error:
        plan(clone)
    assert str(error.value).count("\n") == 0


def test_a_folder_without_a_tokenizer(clone: Clone) -> None:
    (clone.root / "theirs/tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer: copy tokenizer\.json there"):
        plan(clone)


def test_a_float_model_that_says_it_is_quantized(clone: Clone) -> None:
    theirs, floats = clone.root / "theirs", clone.root / MODEL
    assert stored(theirs, floats, "x")[2] > 0
    shutil.copy(floats / "model.safetensors", theirs)
    with pytest.raises(UserError, match="whose tensors are those of the float model: remove that key"):
        stored(theirs, floats, "x")
