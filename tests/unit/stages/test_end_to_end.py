"""Models as they really are, through every stage: float is what plain transformers makes of them, eight bits nearly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from layer_kinds import hessians
from safetensors.torch import load_file
from soak import SOAK
from torch.nn import functional as F
from traits import Case, adapter_of, cases, few, named, pairs, write
from transformers import AutoTokenizer

from ptqbench import spec
from ptqbench.data.calibration import read_tokens
from ptqbench.manifest import canonical, load
from ptqbench.members import members
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.models.parts import text_folder
from ptqbench.stages import calibrate, evaluate, export, prepare, quantize, statistics
from ptqbench.statistics.hessian import unfold

LENGTH, WINDOWS = 24, 4  # longer than the sliding windows
METHODS: dict[str, dict[str, Any]] = {
    "shared": {"rounding": "gptq"},
    "propagated": {"rounding": "gptq", "propagate": True},
    "learned": {"rounding": {"signround": {"iterations": 2}}},
}
CHOSEN = cases() if SOAK else few(cases())
MADE = {"model": "model-made", "calibration": "tokens", "statistics": "statistics"}


def config() -> dict[str, Any]:
    return {
        "models": {"tiny": {"path": "model", "trust_remote_code": True}},
        "calibration": {"text": {"corpus": "train.txt", "samples": 8, "sequence_length": LENGTH}},
        "schemes": {"w8g32": {"bits": 8, "group_size": 32}},
        "methods": METHODS,
        "suites": {
            "ppl": {"kind": "perplexity", "corpora": {"t": "test.txt"}, "limit": WINDOWS, "window": LENGTH},
        },
    }


def call(stage: Any, value: object, out: str, *more: str, **inputs: str) -> None:
    """A stage as its rule calls it."""
    paths = [part for key, name in inputs.items() for part in (f"--{key}", f"out/{name}/manifest.json")]
    stage.main(["--spec", canonical(value), "--out", f"out/{out}/manifest.json", *paths, *more])


def cell_of(method: str) -> tuple[str, ...]:
    return ("tiny", "text", method, "w8g32")


def perplexity(cell: tuple[str, ...], packed: str) -> float:
    out = Path(f"{packed}.json")
    value = spec.evaluate_spec(config(), *cell, "ppl")
    evaluate.main(["--spec", canonical(value), "--checkpoint", f"out/{packed}/manifest.json", "--out", str(out)])
    return json.loads(out.read_text())["rows"][0]["value"]


@torch.no_grad()
def plain_perplexity(model: Any, folder: Path) -> float:
    """The published loop by itself: window after window, each token's probability after those before it."""
    tokenizer = AutoTokenizer.from_pretrained(text_folder(folder), trust_remote_code=True)
    ids = tokenizer(Path("test.txt").read_text(), verbose=False)["input_ids"]
    total = 0.0
    for start in range(0, WINDOWS * LENGTH, LENGTH):
        window = torch.tensor(ids[start : start + LENGTH])
        chances = F.log_softmax(model(input_ids=window[None]).logits[0].double(), -1)
        total -= sum(chances[at - 1, window[at]].item() for at in range(1, LENGTH))
    return math.exp(total / (WINDOWS * (LENGTH - 1)))


def test_the_chosen_cases_hold_every_family_and_every_pair_of_traits() -> None:
    chosen = few(cases())
    assert {adapter_of(case) for case in chosen} == set(members("models/adapters"))
    assert set().union(*map(pairs, chosen)) == set().union(*map(pairs, cases()))


@pytest.mark.parametrize("case", CHOSEN, ids=named)
def test_every_driver(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("train.txt").write_text(tiny.text(3000, seed=1))
    Path("test.txt").write_text(tiny.text(1000, seed=2))
    folder = write(case, Path("model"))
    checkpoint = Checkpoint(folder, remote=True)
    model = load_model(folder, checkpoint.adapter, dtype=torch.float32).eval()

    call(prepare, spec.model_spec(config(), "tiny"), "model-made")
    call(calibrate, spec.calibration_spec(config(), "tiny", "text"), "tokens", model="model-made")
    call(
        statistics,
        spec.statistics_spec(config(), "tiny", "text"),
        "statistics",
        model="model-made",
        calibration="tokens",
    )
    baseline = ("tiny", spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
    call(export, spec.export_spec(config(), *baseline), "float", "--quantized", model="model-made")
    check_bytes(case, folder)
    expected = plain_perplexity(model, folder)
    assert perplexity(baseline, "float") == pytest.approx(expected, rel=1e-5)
    check_hessians(model, checkpoint)

    for method in METHODS:
        call(quantize, spec.quantize_spec(config(), *cell_of(method)), method, **MADE)
        call(
            export,
            spec.export_spec(config(), *cell_of(method)),
            f"packed-{method}",
            model="model-made",
            quantized=method,
        )
        assert perplexity(cell_of(method), f"packed-{method}") == pytest.approx(expected, rel=5e-3), method
    scattered()


def check_bytes(case: Case, folder: Path) -> None:
    """Stored buffers weigh nothing: the model computes them."""
    files = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    counted = load(Path("out/float/manifest.json"))["packed_weight_bytes"]
    assert counted < files if case["buffers"] else counted == files


def check_hessians(model: Any, checkpoint: Checkpoint) -> None:
    """Stored ones are those of hooks on the plain model."""
    tokens = torch.from_numpy(read_tokens(Path("out/tokens/tokens.parquet"))).long()
    for (index, site), own in hessians(model, checkpoint.adapter, checkpoint.config, [{"input_ids": tokens}]).items():
        stored = load_file(f"out/statistics/block-{index:03d}.safetensors")[f"{site}.hessian"]
        found = unfold(stored, len(own)).double()
        assert (found - own).norm() <= 1e-5 * own.norm() + 1e-12, (index, site)


def scattered() -> None:
    """A cell that two jobs make is the same to the bit as one job's, whose score is known."""
    value = spec.quantize_spec(config(), *cell_of("shared"))
    for part in ("0", "1"):
        call(quantize, value, f"part-{part}", "--part", part, "2", **MADE)
    parts = [f"out/part-{part}/manifest.json" for part in ("0", "1")]
    call(quantize, value, "gathered", "--parts", *parts, **MADE)
    one, other = (load(Path(f"out/{name}/manifest.json"))["files"] for name in ("shared", "gathered"))
    assert one == other
