"""The whole chain on the smallest model of every family, an image suite included where the model sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tiny
import tiny_images
import tiny_models
import torch

from ptqbench import spec
from ptqbench.data.images import write_items
from ptqbench.evaluation.backends.transformers import decompression
from ptqbench.manifest import canonical, load
from ptqbench.model_checks import read_shapes
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.stages import calibrate, evaluate, export, prepare, quantize, statistics

FAMILIES = ("mamba", "mamba2", "llava", "new llava", "vila")
METHODS: dict[str, dict[str, Any]] = {
    "rtn": {},
    "quarot+gptq": {"transform": {"rotation": "hadamard"}, "rounding": "gptq"},
    "awq": {"transform": "salience", "range": "search"},
}


def config(family: str) -> dict[str, Any]:
    suites: dict[str, Any] = {"ppl": {"kind": "perplexity", "corpora": {"t": "test.txt"}, "limit": 2, "window": 16}}
    if family in tiny_models.SEEING:
        suites["seeing"] = {"kind": "images", "questions": {"colours": "colours.parquet"}, "max_tokens": 3}
    return {
        "models": {"tiny": {"path": "model"}},
        "calibration": {"text": {"corpus": "train.txt", "samples": 4, "sequence_length": 16}},
        "schemes": {"w4g32": {"bits": 4, "group_size": 32}},
        "methods": METHODS,
        "suites": suites,
    }


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything up to the statistics."""
    root = tmp_path_factory.mktemp("family")
    tiny_models.make_model(root / "model", request.param, torch.bfloat16, vocabulary=300)
    if request.param not in tiny_models.SEEING:
        tiny_images.tokenizer().save_pretrained(root / "model")
    (root / "train.txt").write_text(tiny.text(3000, seed=1))
    (root / "test.txt").write_text(tiny.text(1000, seed=2))
    write_items(root / "colours.parquet", tiny_images.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        settings = config(request.param)
        prepare.main(arguments(spec.model_spec(settings, "tiny"), "model-made"))
        calibrate.main(arguments(spec.calibration_spec(settings, "tiny", "text"), "tokens", model="model-made"))
        made = {"model": "model-made", "calibration": "tokens"}
        statistics.main(arguments(spec.statistics_spec(settings, "tiny", "text"), "statistics", **made))
        yield request.param, root, settings
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def _here(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(family[1])


def arguments(value: object, out: str, **inputs: str) -> list[str]:
    made = ["--spec", canonical(value), "--out", f"out/{out}/manifest.json"]
    return made + [part for key, name in inputs.items() for part in (f"--{key}", f"out/{name}/manifest.json")]


@pytest.mark.parametrize("method", METHODS)
def test_the_chain(family: Any, method: str) -> None:
    name, root, settings = family
    cell = ("tiny", "text", method, "w4g32")
    made = {"model": "model-made", "calibration": "tokens", "statistics": "statistics"}
    quantize.main(arguments(spec.quantize_spec(settings, *cell), f"codes-{method}", **made))
    exported = {"model": "model-made", "quantized": f"codes-{method}"}
    export.main(arguments(spec.export_spec(settings, *cell), f"packed-{method}", **exported))
    manifest = load(root / f"out/packed-{method}/manifest.json")
    because = "transformers cannot build Mamba around packed linears" if name.startswith("mamba") else None
    assert manifest["format"] == ("dense" if because else "compressed_tensors")
    assert manifest["reason"] == because
    for suite in settings["suites"]:
        out = root / f"{method}-{suite}.json"
        evaluation = ["--checkpoint", f"out/packed-{method}/manifest.json", "--out", str(out)]
        evaluate.main(["--spec", canonical(spec.evaluate_spec(settings, *cell, suite)), *evaluation])
        result = json.loads(out.read_text())
        assert result["backend"] == "transformers"
        if suite == "seeing":
            (row,) = result["rows"]
            assert len(row["items"]) == len(row["answers"]) == row["n"]
            assert row["n"] == 6
        else:
            assert result["rows"][0]["value"] > 1


def test_packed_weights_are_read_as_the_codes_say(family: Any) -> None:
    """What transformers makes of a packed checkpoint: quantized linears on their grid, all others untouched."""
    _, root, settings = family
    cell = ("tiny", "text", "rtn", "w4g32")
    made = {"model": "model-made", "calibration": "tokens", "statistics": "statistics"}
    quantize.main(arguments(spec.quantize_spec(settings, *cell), "codes", **made))
    export.main(arguments(spec.export_spec(settings, *cell), "packed", model="model-made", quantized="codes"))
    asked = {**spec.export_spec(settings, *cell), "format": "dense", "rows": [{"format": "dense", "because": "asked"}]}
    export.main(arguments(asked, "dense", model="model-made", quantized="codes"))
    models = []
    for folder in ("packed", "dense"):
        checkpoint = Checkpoint(root / f"out/{folder}/checkpoint")
        quantization = checkpoint.config.get("quantization_config")
        options = {"dtype": torch.bfloat16, **decompression(quantization)}
        models.append(load_model(checkpoint.folder, checkpoint.adapter, **options).eval())
    packed, dense = (dict(model.state_dict()) for model in models)
    for key, tensor in dense.items():
        assert torch.equal(packed[key], tensor), key


def test_the_planner_knows_every_linear(family: Any) -> None:
    _, root, _ = family
    checkpoint = Checkpoint(root / "model")
    sites = [site for b in range(checkpoint.n_blocks) for site in checkpoint.adapter.sites(checkpoint.config, b)]
    assert len(read_shapes("tiny", root / "model", {})) == sum(len(site.linears) for site in sites)


def test_int8_activations(family: Any) -> None:
    _, root, settings = family
    scheme, method = {"bits": 8, "symmetric": True}, {"transform": "smooth", "activations": "int8"}
    settings = {**settings, "schemes": {"w8": scheme}, "methods": {"smooth": method}}
    cell = ("tiny", "text", "smooth", "w8")
    made = {"model": "model-made", "calibration": "tokens", "statistics": "statistics"}
    quantize.main(arguments(spec.quantize_spec(settings, *cell), "smooth", **made))
    export.main(arguments(spec.export_spec(settings, *cell), "w8a8", model="model-made", quantized="smooth"))
    evaluation = ["--checkpoint", "out/w8a8/manifest.json", "--out", str(root / "w8a8.json")]
    evaluate.main(["--spec", canonical(spec.evaluate_spec(settings, *cell, "ppl")), *evaluation])
    assert json.loads((root / "w8a8.json").read_text())["rows"][0]["value"] > 1
