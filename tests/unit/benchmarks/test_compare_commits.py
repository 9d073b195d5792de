"""What the comparison of two commits says of runs that differ in one thing each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from scripts import script

from ptqbench.manifest import describe

CELL = "m/text/gptq/w4"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return script("compare_commits")


def run(root: Path, loss: float = 1.0, code: int = 3, score: float = 8.0, seconds: float = 0.5) -> Path:
    """A finished run of one cell with one linear and one suite."""
    layer = {"linear": "0.q", "proxy_loss": loss, "seconds": seconds}
    write(root / f"results/quantized/{CELL}/manifest.json", {"layers": [layer]})
    packed = root / f"results/packed/{CELL}"
    (packed / "checkpoint").mkdir(parents=True)
    save_file({"a": torch.zeros(4), "q": torch.tensor([1, 2, code])}, packed / "checkpoint/model.safetensors")
    file = "checkpoint/model.safetensors"
    write(packed / "manifest.json", {"files": {file: describe(packed / file)}})
    row = {"task": "test", "metric": "perplexity", "value": score, "stderr": float("nan"), "items": [score, 1.0]}
    write(root / f"results/eval/{CELL}/ppl.json", {"rows": [row]})
    return root


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_times_are_no_difference(compare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = run(tmp_path / "before"), run(tmp_path / "after", seconds=9.0)
    assert compare.main([str(before), str(after)]) == 0
    assert capsys.readouterr().out.startswith("0 differences")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"loss": 2.0}, f"quantized {CELL}/manifest.json: proxy_loss of 1 of 1 linears, by 0.5 of it at most"),
        ({"code": 5}, f"packed {CELL}/manifest.json: tensor q: 1 of 3 values"),
        ({"score": 9.0}, f"eval {CELL}/ppl.json: perplexity of test: 8 before, 9 after (items, value differ)"),
    ],
)
def test_one_difference_is_one_line(
    compare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], line: str
) -> None:
    before, after = run(tmp_path / "before"), run(tmp_path / "after", **change)
    assert compare.main([str(before), str(after)]) == 1
    assert capsys.readouterr().out.splitlines()[:-1] == [line]


def test_what_only_one_has(compare: ModuleType, tmp_path: Path) -> None:
    before, after = run(tmp_path / "before"), run(tmp_path / "after")
    (after / f"results/eval/{CELL}/ppl.json").unlink()
    assert list(compare.differences(before, after)) == [f"eval {CELL}/ppl.json: only before"]


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [(1, 2, 0.5), ([0.0, 4.0], [0.0, 3.0], 0.25), ([1.0], [1.0, 2.0], math.inf), (None, 1, math.inf)],
)
def test_how_far_numbers_are_apart(compare: ModuleType, one: Any, other: Any, share: float) -> None:
    assert compare.relative(one, other) == share


def test_nothing_is_no_agreement(compare: ModuleType, tmp_path: Path) -> None:
    assert compare.main([str(tmp_path), str(tmp_path)]) == 1
