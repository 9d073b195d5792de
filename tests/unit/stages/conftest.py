"""One chain of stages, run in this process on the tiny model: an artifact of each to look into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
import torch

from ptqbench import spec
from ptqbench.manifest import NAME, canonical
from ptqbench.stages import calibrate, evaluate, export, prepare, quantize, statistics

CONFIG: dict[str, Any] = {
    "models": {"tiny": {"path": "model"}},
    "calibration": {"text": {"corpus": "train.txt", "samples": 8, "sequence_length": 32}},
    "schemes": {"w3g32": {"bits": 3, "group_size": 32}},
    "methods": {"gptq": {"rounding": "gptq"}},
    "suites": {"ppl": {"kind": "perplexity", "corpora": {"test": "test.txt"}, "limit": 4}},
}
CELL, BASELINE = ("tiny", "text", "gptq", "w3g32"), ("tiny", "none", "float", "float")


class Chain(NamedTuple):
    """Where each stage wrote; paths are relative to ``root``, in which the stages ran."""

    root: Path
    model: Path
    tokens: Path
    statistics: Path
    quantized: Path
    packed: Path
    baseline: Path
    result: Path
    baseline_result: Path
    config: dict[str, Any] = CONFIG


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root = tmp_path_factory.mktemp("chain")
    tiny.write_model(root / "model", dtype=torch.float32)
    (root / "train.txt").write_text(tiny.text(3000, seed=1))
    (root / "test.txt").write_text(tiny.text(1000, seed=2))
    folders = ("model", "tokens", "statistics", "quantized", "packed", "baseline")
    made = Chain(root, *(Path("out") / name / NAME for name in folders), Path("out/ppl.json"), Path("out/float.json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        run(made)
    return made


@pytest.fixture(autouse=True)
def _gradients() -> Iterator[None]:
    """A stage ends with its process, and so may leave gradients off; later tests want them."""
    yield
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def _inside(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chain.root)


def run(made: Chain) -> None:
    """Every stage as its rule calls it."""

    def arguments(value: object, out: Path, *others: str | Path) -> list[str]:
        return ["--spec", canonical(value), "--out", str(out), *map(str, others)]

    model, tokens, sites = ("--model", made.model), ("--calibration", made.tokens), ("--statistics", made.statistics)
    cell, baseline = spec.export_spec(CONFIG, *CELL), spec.export_spec(CONFIG, *BASELINE)
    prepare.main(arguments(spec.model_spec(CONFIG, "tiny"), made.model))
    calibrate.main(arguments(spec.calibration_spec(CONFIG, "tiny", "text"), made.tokens, *model))
    statistics.main(arguments(spec.statistics_spec(CONFIG, "tiny", "text"), made.statistics, *model, *tokens))
    quantize.main(arguments(spec.quantize_spec(CONFIG, *CELL), made.quantized, *model, *tokens, *sites))
    export.main(arguments(cell, made.packed, *model, "--quantized", made.quantized))
    export.main(arguments(baseline, made.baseline, *model, "--quantized"))
    for row, packed, out in ((CELL, made.packed, made.result), (BASELINE, made.baseline, made.baseline_result)):
        evaluate.main(arguments(spec.evaluate_spec(CONFIG, *row, "ppl"), out, "--checkpoint", packed))
