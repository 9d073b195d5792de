"""A diagnosis against models that were put together by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ptqbench import spec
from ptqbench.drive.cell import Cell
from ptqbench.linalg.divergence import divergence
from ptqbench.manifest import canonical, load, verify
from ptqbench.places import checkpoint_folder
from ptqbench.stages import diagnose, export, quantize

# `chain` comes from conftest.py; its paths are relative to the folder that the stages ran in, the present one

METHODS = {
    "plain": {"rounding": "gptq"},
    "turned": {"transform": [{"rotation": "hadamard"}, "salience"], "rounding": "gptq"},
    "incoherent": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
}
CONFIG = {
    "models": {"tiny": {"path": "model"}},
    "calibration": {"text": {"corpus": "train.txt", "samples": 8, "sequence_length": 32}},
    "schemes": {"w2g32": {"bits": 2, "group_size": 32}},
    "methods": METHODS,
    "suites": {"ppl": {"kind": "perplexity", "corpora": {"test": "test.txt"}, "limit": 4}},
    "grid": [{"models": ["tiny"], "methods": list(METHODS), "schemes": ["w2g32"], "suites": ["ppl"], "diagnose": True}],
}


@pytest.fixture(scope="module", params=list(METHODS))
def diagnosed(request: pytest.FixtureRequest, chain) -> tuple[str, Path, Path]:
    """The method, where its diagnosis is, and its exported checkpoint."""
    method = request.param
    cell = ("tiny", "text", method, "w2g32")
    quantized, packed, out = (Path("out", stage, method, "manifest.json") for stage in ("cell", "pack", "why"))
    inputs = ["--model", str(chain.model), "--statistics", str(chain.statistics), "--calibration", str(chain.tokens)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(chain.root)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        quantize.main(["--spec", canonical(spec.quantize_spec(CONFIG, *cell)), "--out", str(quantized), *inputs])
        asked = spec.export_spec({**CONFIG, "export": {"format": "dense"}}, *cell)
        called = ["--out", str(packed), "--model", str(chain.model), "--quantized", str(quantized)]
        export.main(["--spec", canonical(asked), *called])
        asked = spec.diagnose_spec(CONFIG, *cell)
        asked["held_out"] = {**asked["held_out"], "windows": 3, "length": 32}
        patch.setattr(Cell, "prepare", None)  # nothing is drawn or learned anew
        diagnose.main(["--spec", canonical(asked), "--out", str(out), *inputs, "--quantized", str(quantized)])
        verify(out)
    torch.set_grad_enabled(True)
    return method, chain.root / out.parent, checkpoint_folder(chain.root / packed, load(chain.root / packed))


def loaded(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def distance(model: PreTrainedModel) -> float:
    """KL to the float model on the held-out windows."""
    ids = AutoTokenizer.from_pretrained("model")(Path("test.txt").read_text())["input_ids"]
    tokens = torch.tensor(ids[: 3 * 32]).view(3, 32)
    with torch.no_grad():
        wanted, found = (one(input_ids=tokens).logits for one in (loaded(Path("model")), model))
    return divergence(wanted, found).mean().item()


def read(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.parquet")


def test_error_grows_from_nothing_to_that_of_the_cell(diagnosed: tuple[str, Path, Path]) -> None:
    _, folder, checkpoint = diagnosed
    growth = read(folder, "growth")["kl"].to_list()
    assert growth[0] == pytest.approx(0, abs=1e-9)
    assert growth[-1] == pytest.approx(distance(loaded(checkpoint)), rel=1e-3)
    assert growth[-1] > 0.01
    assert len(growth) == 3


def test_a_restored_block_is_the_float_models(diagnosed: tuple[str, Path, Path]) -> None:
    method, folder, checkpoint = diagnosed
    restored, growth = read(folder, "restored")["kl"].to_list(), read(folder, "growth")["kl"].to_list()
    assert restored[1] == pytest.approx(growth[1], rel=1e-6), "of two blocks, without the last is with the first"
    if method != "turned":  # its blocks fit no stream but a turned one
        mixed, base = loaded(checkpoint), loaded(Path("model"))
        mixed.model.layers[0] = copy.deepcopy(base.model.layers[0])
        assert restored[0] == pytest.approx(distance(mixed), rel=1e-3)


def test_layers_have_what_was_recorded_and_how_codes_use_the_grid(diagnosed: tuple[str, Path, Path]) -> None:
    method, folder, _ = diagnosed
    layers = read(folder, "layers")
    recorded = load(Path("out", "cell", method, "manifest.json"))["layers"]
    assert layers.select("linear", "proxy_loss").rows() == [(one["linear"], one["proxy_loss"]) for one in recorded]
    assert layers["code_entropy"].is_between(0.5, 2).all()
    assert layers["levels_used"].is_between(0.25, 1).all()
    assert layers["tokens"].unique().to_list() == [8 * 32]
    assert (layers["effective_rank"] <= layers["channels"]).all()


def test_transforms_are_seen_before_and_after(diagnosed: tuple[str, Path, Path]) -> None:
    method, folder, _ = diagnosed
    transforms = read(folder, "transforms")
    stages = {
        "plain": ["none"],
        "turned": ["none", "rotation_hadamard", "salience"],
        "incoherent": ["none", "incoherence"],
    }
    assert transforms["stage"].unique(maintain_order=True).to_list() == stages[method]
    assert len(transforms) == len(read(folder, "layers")) * len(stages[method])
    if method == "turned":
        weights = transforms.filter(pl.col("linear") == "0.self_attn.q_proj")["weight_kurtosis"].to_list()
        assert weights[0] != pytest.approx(weights[1], rel=1e-3)
