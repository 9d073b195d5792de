"""A quantized vision tower: no matrix forgotten, every fold exact, every method runs, the hub's names come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_models import (
    logits,
    logits_of,
    make_cell,
    make_model,
    relative,
    save_with,
    transformed_tensors,
    write_statistics,
)

from ptqbench.drive import propagate
from ptqbench.drive.propagate import PropagatedCell
from ptqbench.drive.site import QuantizedBlock
from ptqbench.models.adapter import reason_for_float
from ptqbench.models.adapters import llama, llava
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.tower import FC2, HEAD
from ptqbench.numbers.grid import Grid

METHODS = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())["methods"]
WEIGHTS_ONLY = [name for name, method in METHODS.items() if method.get("activations") != "int8"]
CHEAP = {"learned": {"learned": {"epochs": 1}}, "signround": {"signround": {"iterations": 4}}}
TOWER = {"hidden_size": 32, "intermediate_size": 128}
FOLDS = {
    "salience": "salience",
    "smooth": "smooth",
    "hadamard": {"rotation": "hadamard"},
    "learned": {"rotation": {"learned": {"steps": 4}}},
    "hadamard, then salience": [{"rotation": "hadamard"}, "salience"],
}


@pytest.fixture(scope="module", params=("llava", "vila"))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    path = make_model(folder / "model", request.param, tower=TOWER)
    return path, write_statistics(path, folder / "statistics", vision_tower=True)


def cell_of(model: tuple[Path, Path], method: dict[str, Any], bits: int = 8) -> PropagatedCell:
    return make_cell(*model, method, Grid(bits, 32), vision_tower=True)


def cheap(method: dict[str, Any]) -> dict[str, Any]:
    """A method with fewer steps of learning."""
    shortened = {stage: CHEAP.get(value, value) if isinstance(value, str) else value for stage, value in method.items()}
    if shortened.get("transform") == {"rotation": "learned"}:
        shortened["transform"] = {"rotation": {"learned": {"steps": 4}}}
    return shortened


def quantized(cell: PropagatedCell) -> list[tuple[QuantizedBlock, list[dict[str, Any]]]]:
    with torch.no_grad():
        if not cell.recipe.propagate:
            return list(cell.blocks())
        skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
        return list(cell.propagated(skeleton, 3))


def tensors_of(cell: PropagatedCell, blocks: list[QuantizedBlock]) -> dict[str, torch.Tensor]:
    tensors = {name: cell.checkpoint.tensor(name) for name in cell.checkpoint.headers} | cell.outside().tensors
    for index, block in enumerate(blocks):
        prefix = cell.checkpoint.adapter.prefix(index)
        tensors |= {prefix + name: tensor for name, tensor in block.tensors.items()}
        tensors |= {f"{prefix}{name}.weight": linear.dequantize() for name, linear in block.linears.items()}
    return tensors


def covered_and_left(checkpoint: Checkpoint) -> tuple[set[str], set[str]]:
    """The matrices of a checkpoint that are in a site, and the others."""
    adapter = checkpoint.adapter
    sites = [(b, s) for b in range(checkpoint.n_blocks) for s in adapter.sites(checkpoint.config, b)]
    covered = {f"{adapter.prefix(b)}{linear}.weight" for b, site in sites for linear in site.linears}
    matrices = {name for name, header in checkpoint.headers.items() if len(header.shape) > 1}
    return covered, matrices - covered


def test_every_matrix_is_quantized_or_excluded_with_a_reason(model: tuple[Path, Path]) -> None:
    plain, whole = Checkpoint(model[0]), Checkpoint(model[0], vision_tower=True)
    covered, left = covered_and_left(whole)
    assert covered <= set(whole.headers)
    assert all(reason_for_float(whole.adapter, name) for name in left)
    assert not any(reason_for_float(whole.adapter, name) for name in covered if "fc2" not in name)
    added = covered - covered_and_left(plain)[0]
    assert len(added) == whole.adapter.tower_blocks * 6
    assert {name for name in left if "vision_tower" in name} == {
        name for name in whole.headers if name.endswith(("patch_embedding.weight", "position_embedding.weight"))
    }
    assert whole.n_blocks == plain.n_blocks + 2
    assert whole.adapter.block_config(whole.config, 1)["intermediate_size"] == 128
    assert whole.adapter.block_config(whole.config, 2) == plain.text_config


def test_a_tower_with_a_head_and_an_fc2_that_no_group_divides(tmp_path: Path) -> None:
    """As the SigLIP tower of VILA-1.5 is, but smaller."""
    tower = {"hidden_size": 32, "intermediate_size": 144, "vision_use_head": True}
    checkpoint = Checkpoint(make_model(tmp_path, "vila", tower=tower), vision_tower=True)
    covered, left = covered_and_left(checkpoint)
    reasons = {name: reason_for_float(checkpoint.adapter, name) for name in left}
    assert all(reasons.values())
    assert {reasons[name] for name in left if name.endswith("mlp.fc2.weight") and "head" not in name} == {FC2}
    assert {reasons[name] for name in left if ".head." in name} == {HEAD}
    assert not any("fc2" in name for name in covered if "vision_tower" in name)


@pytest.mark.parametrize("transform", FOLDS.values(), ids=FOLDS.keys())
def test_logits_with_an_image_are_unchanged(model: tuple[Path, Path], transform: object) -> None:
    cell, plain = cell_of(model, {"transform": transform}, 3), cell_of(model, {}, 3)
    before, after = transformed_tensors(plain), transformed_tensors(cell)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    in_tower = {name for name in changed if "vision_tower" in name}
    if "rotation" in str(transform) and "salience" not in str(transform):
        assert not in_tower
    else:
        folded = {f"layer_norm{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
        assert folded <= {".".join(name.split(".")[-2:]) for name in in_tower}
    assert relative(logits(cell, after), logits(plain, before)) < 1e-4


def test_a_values_bias_is_scaled_with_its_rows(model: tuple[Path, Path]) -> None:
    cell = cell_of(model, {"transform": "salience"}, 3)
    before, state = cell.state(0), cell.state(0)
    cell.transform(state)
    name = "self_attn.v_proj"
    ratio = state.tensors[f"{name}.bias"] / before.tensors[f"{name}.bias"]
    rows = state.tensors[f"{name}.weight"].norm(dim=1) / before.tensors[f"{name}.weight"].norm(dim=1)
    assert not torch.allclose(ratio, torch.ones_like(ratio))
    assert set(state.row_scale) == {name}
    torch.testing.assert_close(ratio, 1 / state.row_scale[name])
    assert not torch.allclose(rows, torch.ones_like(rows))


def test_fc2_reads_an_activation_and_keeps_its_scale(model: tuple[Path, Path]) -> None:
    cell = cell_of(model, {"transform": "salience"}, 3)
    blocks = [block for block, _ in quantized(cell)]
    scaled = {name for block in blocks for name, linear in block.linears.items() if linear.basis.scale is not None}
    assert scaled == {"mlp.fc2"}


def test_a_rotation_is_left_out_of_the_tower_and_that_is_recorded(model: tuple[Path, Path]) -> None:
    cell = cell_of(model, {"transform": {"rotation": "hadamard"}, "rounding": "gptq"})
    notes = [note for _, records in quantized(cell) for note in records]
    assert {note["block"] for note in notes if "LayerNorm" in note.get("left_out", "")} == {0, 1}
    assert cell.rotations is not None
    assert [found is None for found in cell.rotations.r2] == [True, True, False, False]


@pytest.mark.parametrize("name", WEIGHTS_ONLY)
def test_every_method_at_eight_bits_gives_nearly_the_float_model(
    model: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    cell = cell_of(model, cheap(METHODS[name]))
    blocks = [block for block, _ in quantized(cell)]
    for index, block in enumerate(blocks):
        sites = cell.checkpoint.adapter.sites(cell.checkpoint.config, index)
        assert set(block.linears) == {linear for site in sites for linear in site.linears}
    saved = save_with(cell, tensors_of(cell, blocks), tmp_path / "saved")
    models = [load_model(folder, cell.checkpoint.adapter, dtype=torch.float32).eval() for folder in (saved, model[0])]
    found, expected = map(logits_of, models)
    assert 0 < relative(found, expected) < 0.05


def test_a_propagated_language_model_reads_what_the_quantized_tower_makes(model: tuple[Path, Path]) -> None:
    """At two bits in the tower, the first text block's statistics differ from those behind a float tower."""
    cell = cell_of(model, {"rounding": "gptq", "propagate": True}, 2)
    first = cell.checkpoint.adapter.tower_blocks
    skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
    in_float = [item.hidden for item in skeleton.inputs(cell.calibration, 3)]
    seen = [item.hidden for item in in_front_of_text(cell, skeleton)]
    assert first == 2
    assert all(relative(found, expected) > 0.01 for found, expected in zip(seen, in_float, strict=True))


def in_front_of_text(cell: PropagatedCell, skeleton: Skeleton) -> list[Any]:
    """What the first text block gets once the tower is quantized."""
    with torch.no_grad():
        blocks = cell.propagated(skeleton, 3)
        for _ in range(cell.checkpoint.adapter.tower_blocks):
            next(blocks)
        return skeleton.inputs(cell.calibration, 3)


def test_the_float_stream_of_the_language_model_is_that_of_the_float_tower(
    model: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []

    class Watched(propagate.Streams):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(([item.hidden for item in self.quantized], [item.hidden for item in self.exact]))

    monkeypatch.setattr(propagate, "Streams", Watched)
    cell = cell_of(model, {"rounding": "gptaq"}, 2)
    skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
    expected = [item.hidden for item in skeleton.inputs(cell.calibration, 3)]
    with torch.no_grad():
        list(cell.propagated(skeleton, 3))
    (tower, same), (text, exact) = made
    assert all(map(torch.equal, tower, same))
    assert all(map(torch.equal, exact, expected))
    assert not any(map(torch.equal, text, expected))


def test_a_folder_comes_back_to_the_bit_under_the_same_names(model: tuple[Path, Path], tmp_path: Path) -> None:
    cell = cell_of(model, {})
    saved = save_with(cell, {n: cell.checkpoint.tensor(n) for n in cell.checkpoint.headers}, tmp_path / "s")
    found = Checkpoint(saved, vision_tower=True)
    assert set(found.headers) == set(cell.checkpoint.headers)
    assert all(torch.equal(found.tensor(name), cell.checkpoint.tensor(name)) for name in found.headers)
    assert found.adapter.tower_prefix == cell.checkpoint.adapter.tower_prefix


def test_newer_names_of_a_checkpoint(tmp_path: Path) -> None:
    """As transformers 5 has them inside: without the level ``vision_model``."""
    checkpoint = Checkpoint(make_model(tmp_path, "new llava", tower=TOWER), vision_tower=True)
    covered, left = covered_and_left(checkpoint)
    assert "model.vision_tower.encoder.layers.1.mlp.fc1.weight" in covered <= set(checkpoint.headers)
    assert all(reason_for_float(checkpoint.adapter, name) for name in left)


def test_models_of_text_have_no_tower() -> None:
    assert llama.ADAPTER.tower is None
    assert llava.ADAPTER.tower is not None
