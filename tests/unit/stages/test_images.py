"""The chain on image-text calibration, with the vision tower in float and quantized."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_images
import tiny_models
import torch

from ptqbench import spec
from ptqbench.artifacts.cell import QuantizedCell
from ptqbench.artifacts.linear import packed_bytes
from ptqbench.data.images import Item, write_items
from ptqbench.data.pairs import read_pairs
from ptqbench.evaluation.backends.transformers import Backend, decompression
from ptqbench.manifest import canonical, load
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.places import checkpoint_folder
from ptqbench.stages import calibrate, evaluate, export, prepare, quantize, statistics

MODELS = {"seeing": {"path": "model"}, "whole": {"path": "model", "vision_tower": True}}
CONFIG: dict[str, Any] = {
    "models": MODELS,
    "calibration": {"pairs": {"questions": "questions.parquet", "samples": 4}},
    "schemes": {"w4g32": {"bits": 4, "group_size": 32}},
    "methods": {"awq": {"transform": "salience", "range": "search"}, "gptaq": {"rounding": "gptaq"}},
    "suites": {"vqa": {"kind": "images", "questions": {"q": "questions.parquet"}, "limit": 4, "max_tokens": 3}},
}


@pytest.fixture(scope="module", params=("llava", "vila"))
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything up to the statistics, of both models."""
    folder = tmp_path_factory.mktemp("images")
    tower = {"hidden_size": 32, "intermediate_size": 128}
    tiny_models.make_model(folder / "model", request.param, torch.bfloat16, vocabulary=300, tower=tower)
    images = [tiny_images.png((shade, 0, 0)) for shade in range(0, 120, 20)]
    questions = ("what color is it?", "is it red, or is it blue?")
    write_items(folder / "questions.parquet", [Item(image, text, ("red",)) for image in images for text in questions])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        for model in MODELS:
            prepare.main(arguments(spec.model_spec(CONFIG, model), f"{model}-made"))
            made = {"model": f"{model}-made"}
            calibrate.main(arguments(spec.calibration_spec(CONFIG, model, "pairs"), f"{model}-pairs", **made))
            made["calibration"] = f"{model}-pairs"
            statistics.main(arguments(spec.statistics_spec(CONFIG, model, "pairs"), f"{model}-statistics", **made))
        yield folder
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def _here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def arguments(value: object, out: str, **inputs: str) -> list[str]:
    made = ["--spec", canonical(value), "--out", f"out/{out}/manifest.json"]
    return made + [part for key, name in inputs.items() for part in (f"--{key}", f"out/{name}/manifest.json")]


def quantized(model: str, method: str) -> str:
    out = f"{model}-{method}"
    made = {"model": f"{model}-made", "calibration": f"{model}-pairs", "statistics": f"{model}-statistics"}
    quantize.main(arguments(spec.quantize_spec(CONFIG, model, "pairs", method, "w4g32"), out, **made))
    return out


def exported(model: str, codes: str, method: str, dense: bool = False) -> Path:
    asked = spec.export_spec(CONFIG, model, "pairs", method, "w4g32")
    if dense:
        asked |= {"format": "dense", "rows": [{"format": "dense", "because": "asked"}]}
    out = f"{codes}-{'dense' if dense else 'packed'}"
    export.main(arguments(asked, out, model=f"{model}-made", quantized=codes))
    return Path("out", out, "manifest.json")


def test_the_manifest_says_which_items_were_shown(root: Path) -> None:
    manifest = load(root / "out/seeing-pairs/manifest.json")
    pairs = read_pairs(root / "out/seeing-pairs/pairs.parquet")
    assert manifest["samples"] == len(pairs) == 4
    assert manifest["items"] == [pair.place for pair in pairs]
    assert [place // 2 for place in manifest["items"]] == [2, 3, 4, 5], "one question on each of the last four images"
    assert manifest["tokens"] == sum(len(pair.tokens) for pair in pairs)


def test_a_pair_is_what_the_model_is_asked_and_its_answer(root: Path) -> None:
    pair = read_pairs(root / "out/seeing-pairs/pairs.parquet")[0]
    backend = Backend(root / "model", "cpu", False)
    place, features = tiny_models.image_place(backend.model)
    assert pair.tokens.count(place) == features
    seen = [token for token in pair.tokens if token != place]
    assert seen[-1] == backend.tokenizer.eos_token_id
    text = backend.tokenizer.decode(seen, skip_special_tokens=True)
    prompt = backend.prompt(Item(pair.image, pair.question.removesuffix(Item(b"", "", ()).request), (pair.answer,)))
    assert text.replace(" ", "") == (prompt.replace("<image>", "") + " red").replace(" ", "")


def test_statistics_are_of_every_token_of_every_pair(root: Path) -> None:
    from safetensors.torch import load_file

    total = load(root / "out/whole-pairs/manifest.json")["tokens"]
    found = [load_file(root / f"out/whole-statistics/block-{index:03d}.safetensors") for index in range(4)]
    of_text = load_file(root / "out/seeing-statistics/block-000.safetensors")
    assert found[2]["attention.tokens"].item() == total
    assert torch.equal(found[2]["attention.hessian"], of_text["attention.hessian"]), "the float tower is the same"
    checkpoint = Checkpoint(root / "model")
    vision = checkpoint.config[checkpoint.adapter.tower.config]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    classes = int(vision["model_type"] == "clip_vision_model")
    assert found[0]["attention.tokens"].item() == 4 * (patches + classes)


@pytest.mark.parametrize("method", CONFIG["methods"])
@pytest.mark.parametrize("model", MODELS)
def test_the_chain(root: Path, model: str, method: str) -> None:
    packed = exported(model, quantized(model, method), method)
    manifest = load(packed)
    assert manifest["format"] == "compressed_tensors"
    assert manifest["reason"] is None
    assert ("dense_part" in manifest) == (model == "whole")
    out = root / f"{model}-{method}.json"
    evaluation = ["--checkpoint", str(packed), "--out", str(out)]
    asked = spec.evaluate_spec(CONFIG, model, "pairs", method, "w4g32", "vqa")
    evaluate.main(["--spec", canonical(asked), *evaluation])
    (row,) = json.loads(out.read_text())["rows"]
    assert row["n"] == len(row["answers"]) == 4


def test_a_packed_language_model_with_a_dequantized_tower_is_the_dense_twin(root: Path) -> None:
    codes = quantized("whole", "awq")
    models, sizes = [], []
    for manifest in (exported("whole", codes, "awq"), exported("whole", codes, "awq", dense=True)):
        checkpoint = Checkpoint(checkpoint_folder(manifest, load(manifest)))
        options = {"dtype": torch.bfloat16, **decompression(checkpoint.config.get("quantization_config"))}
        models.append(load_model(checkpoint.folder, checkpoint.adapter, **options).eval())
        sizes.append({key: load(manifest)[key] for key in ("weight_bytes", "packed_weight_bytes")})
    packed, dense = (dict(model.state_dict()) for model in models)
    for key, tensor in dense.items():
        assert torch.equal(packed[key], tensor), key
    source = Checkpoint(root / "model")
    cell = QuantizedCell(Path("out", codes, "manifest.json"), Checkpoint(root / "model", vision_tower=True))
    name = "mlp.fc2.weight"
    changed = [key for key in dense if "vision_tower" in key and key.endswith(name)]
    assert changed
    for key in changed:
        theirs = next(
            other for other in source.headers if other.endswith(key.split("layers.")[1]) and "vision" in other
        )
        assert not torch.equal(dense[key], source.tensor(theirs))
    tower = [linears for block, linears in cell.sites() if block < cell.checkpoint.adapter.tower_blocks]
    saved = sum(2 * linear.codes.numel() for linears in tower for linear in linears) - sum(map(packed_bytes, tower))
    assert sizes[0]["weight_bytes"] - sizes[0]["packed_weight_bytes"] == saved > 0
    assert abs(sizes[0]["packed_weight_bytes"] - sizes[1]["packed_weight_bytes"]) < 0.05 * sizes[0]["weight_bytes"]


def test_a_model_of_text_ends_with_one_line(root: Path) -> None:
    tiny.write_model(root / "blind")
    changed = {**CONFIG, "models": {"blind": {"path": "blind"}}}
    prepare.main(arguments(spec.model_spec(changed, "blind"), "blind-made"))
    with pytest.raises(SystemExit, match="and blind is a model of text: calibrate it on a corpus"):
        calibrate.main(arguments(spec.calibration_spec(changed, "blind", "pairs"), "blind-pairs", model="blind-made"))
    with pytest.raises(SystemExit, match=r"models\.blind\.vision_tower is true, and the model has no vision tower"):
        prepare.main(arguments(spec.model_spec(changed, "blind") | {"vision_tower": True}, "blind-tower"))
