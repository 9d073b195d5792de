"""Mixtures through checkpoints: the hub's names, every bit of every weight, and int8 activations inside experts too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tiny_models import MIXTURES, logits_of, make_cell, make_model, write_statistics
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench.drive.cell import Cell
from ptqbench.errors import UserError
from ptqbench.evaluation.backends import mixture
from ptqbench.evaluation.backends.transformers import Backend
from ptqbench.formats import compressed_tensors, dense
from ptqbench.formats.checkpoint import write_model
from ptqbench.formats.layout import Layout
from ptqbench.models.adapter import reason_for_float
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.experts import fuse, make_watchable
from ptqbench.numbers.grid import Grid
from ptqbench.pocket.corpus import train_tokenizer
from ptqbench.stages.export import kept_in_float

LAYOUTS = (Layout(3, 32, False), Layout(4, 32, True), Layout(2, -1, False), Layout(8, -1, True, "int8"))


@pytest.fixture(scope="module", params=MIXTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    path = make_model(folder / "model", request.param, torch.bfloat16)
    train_tokenizer([tiny.text(1000)], 300, 64).save_pretrained(path)
    return path, write_statistics(path, folder / "statistics")


def export(cell: Cell, folder: Path, form: Any, layout: Layout) -> tuple[Path, dict[str, Tensor]]:
    """A cell's checkpoint in a format, and all tensors that it stands for, dense, by checkpoint name."""
    prefix, dtype = cell.checkpoint.adapter.prefix, cell.checkpoint.dtype
    blocks = [block for block, _ in cell.blocks()]
    linears = {f"{prefix(i)}{name}": q for i, block in enumerate(blocks) for name, q in block.linears.items()}
    changed = {f"{prefix(i)}{name}": t.to(dtype) for i, block in enumerate(blocks) for name, t in block.tensors.items()}
    changed |= {name: tensor.to(dtype) for name, tensor in cell.outside().tensors.items()}

    def stored(key: str, tensor: Tensor) -> dict[str, Tensor]:
        name = key.removesuffix(".weight")
        return form.tensors(name, linears[name], dtype, layout) if name in linears else {key: changed.get(key, tensor)}

    mixed = [{name: q.bits for name, q in linears.items()}] if cell.widths and form is compressed_tensors else []
    write_model(cell.checkpoint, folder, stored, form.settings(layout, kept_in_float(cell.checkpoint), *mixed), {}, {})
    original = {name: cell.checkpoint.tensor(name) for name in cell.checkpoint.headers}
    return folder, original | changed | {f"{name}.weight": q.dequantize(dtype) for name, q in linears.items()}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_packed_and_dense_load_the_same_bits(model: tuple[Path, Path], tmp_path: Path, layout: Layout) -> None:
    method = {"transform": [{"rotation": "hadamard"}, "salience"]}
    cell = make_cell(*model, method, Grid(layout.bits, layout.group_size, layout.symmetric))
    folder, tensors = export(cell, tmp_path / "packed", compressed_tensors, layout)
    assert mixture.is_packed_mixture(folder, AutoConfig.from_pretrained(folder).quantization_config)
    loaded = Backend(folder, "cpu", False).model.state_dict()
    plain, _ = export(cell, tmp_path / "dense", dense, Layout(layout.bits, layout.group_size, layout.symmetric))
    assert set(Checkpoint(plain).headers) == set(cell.checkpoint.headers), "the hub's names"
    again = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).state_dict()
    expected = fuse(tensors)
    assert set(again) == set(loaded) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor.float()), name
        assert torch.equal(again[name], tensor.float()), name


def test_experts_of_different_widths(model: tuple[Path, Path], tmp_path: Path) -> None:
    cell = make_cell(*model, {"transform": "salience", "rounding": "gptq"}, Grid(4, 32))
    places = [(index, site.name) for index in range(cell.n_blocks) for site in cell.state(index).sites]
    cell.widths = {place: (2, 3, 4)[number % 3] for number, place in enumerate(places)}
    folder, tensors = export(cell, tmp_path / "packed", compressed_tensors, Layout(4, 32, False))
    groups = AutoConfig.from_pretrained(folder).quantization_config["config_groups"]
    assert [group["weights"]["num_bits"] for group in groups.values()] == [2, 3, 4]
    loaded = Backend(folder, "cpu", False).model.state_dict()
    for name, tensor in fuse(tensors).items():
        assert torch.equal(loaded[name], tensor.float()), name


def test_int8_activations_are_computed_in_every_quantized_linear(model: tuple[Path, Path], tmp_path: Path) -> None:
    layout = Layout(8, -1, True, "int8")
    cell = make_cell(*model, {"transform": "smooth"}, Grid(8, -1, True))
    folder, tensors = export(cell, tmp_path / "packed", compressed_tensors, layout)
    backend = Backend(folder, "cpu", False)
    found = logits_of(backend.model)
    twin = AutoModelForCausalLM.from_pretrained(model[0], dtype=torch.float32).eval()
    make_watchable(twin)
    twin.load_state_dict({name: tensor.float() for name, tensor in fuse(tensors).items()})
    weight_only = logits_of(twin)
    assert 1e-4 < ((found - weight_only).norm() / weight_only.norm()).item() < 0.1
    for name, module in twin.named_modules():
        if hasattr(module, "gate_up_proj"):
            module.represent = mixture.int8_per_token
        elif (
            isinstance(module, torch.nn.Linear) and reason_for_float(cell.checkpoint.adapter, f"{name}.weight") is None
        ):
            module.register_forward_pre_hook(lambda _, args: (mixture.int8_per_token(args[0]),))
    torch.testing.assert_close(found, logits_of(twin), rtol=1e-4, atol=1e-4)


def test_a_token_is_represented_by_integers_of_its_own_scale() -> None:
    x = torch.tensor([[127.5, -1.2, 0.0], [0.0, 0.0, 0.0]])
    assert mixture.int8_per_token(x).tolist() == [[127.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_a_checkpoint_that_lacks_an_expert_is_refused(model: tuple[Path, Path], tmp_path: Path) -> None:
    cell = make_cell(*model, {}, Grid(4, 32, True))
    folder, _ = export(cell, tmp_path / "packed", compressed_tensors, Layout(4, 32, True))
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(tensors) if ".experts.2." in name and name.endswith("weight_packed"))
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=lost):
        Backend(folder, "cpu", False)


def test_a_head_that_is_the_embedding(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", "mixtral", torch.bfloat16, tie_word_embeddings=True)
    train_tokenizer([tiny.text(1000)], 300, 64).save_pretrained(path)
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, Grid(4, 32))
    folder, tensors = export(cell, tmp_path / "packed", compressed_tensors, Layout(4, 32, False))
    assert "lm_head.weight" not in tensors
    model = Backend(folder, "cpu", False).model
    assert torch.equal(model.lm_head.weight, tensors["model.embed_tokens.weight"].float())
