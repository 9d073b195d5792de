"""Packed checkpoints as they are read here: every bit of every weight, and int8 activations inside experts too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from codes import write_packed
from safetensors.torch import load_file, save_file
from tiny_models import MIXTURES, logits_of, make_cell, make_model, write_statistics
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig

from ptqbench.drive.cell import Cell
from ptqbench.errors import UserError
from ptqbench.evaluation.backends import packed
from ptqbench.evaluation.backends.transformers import Backend
from ptqbench.formats import compressed_tensors, dense
from ptqbench.formats.checkpoint import write_model
from ptqbench.formats.layout import Layout
from ptqbench.models.adapter import load_adapter, reason_for_float
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.experts import fuse, make_watchable
from ptqbench.models.headers import read_config
from ptqbench.numbers.elements import E4M3
from ptqbench.numbers.grid import Grid
from ptqbench.pocket.corpus import train_tokenizer
from ptqbench.stages.export import kept_in_float

PARTS = ("scale", "zero_point", "shape")  # what transformers keeps of a packed weight
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
    assert packed.is_packed_mixture(folder, AutoConfig.from_pretrained(folder).quantization_config)
    loaded = Backend(folder, "cpu", False).model.state_dict()
    plain, _ = export(cell, tmp_path / "dense", dense, Layout(layout.bits, layout.group_size, layout.symmetric))
    assert set(Checkpoint(plain).headers) == set(cell.checkpoint.headers), "the hub's names"
    again = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).state_dict()
    expected = fuse(tensors)
    assert set(again) == set(loaded) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor.float()), name
        assert torch.equal(again[name], tensor.float()), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [Layout(4, 32, True), Layout(3, 32, False), Layout(8, -1, True)], ids=str)
def test_a_dense_model_has_the_bits_that_transformers_reads(
    tiny_model: Path, tmp_path: Path, layout: Layout, dtype: torch.dtype
) -> None:
    """Weights and the buffers that no checkpoint holds; no bit of a logit is another."""
    folder = write_packed(tiny_model, tmp_path / "packed", "compressed_tensors", layout)
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7}))
    config = AutoConfig.from_pretrained(folder)
    settings = dict(config.quantization_config)
    assert packed.is_read_here(folder, settings, load_adapter(read_config(folder, "packed")))
    ours = packed.load(folder, config, settings, dtype, False, torch.device("cpu")).eval()
    assert ours.generation_config.max_new_tokens == 7
    options = {"dtype": dtype, "quantization_config": CompressedTensorsConfig(run_compressed=False)}
    theirs = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    tensors = dict(theirs.named_parameters()) | dict(theirs.named_buffers())
    own = dict(ours.named_parameters()) | dict(ours.named_buffers())
    assert {name.rpartition(".")[2] for name in set(tensors) - set(own)} <= {f"weight_{part}" for part in PARTS}
    for name, tensor in own.items():
        assert torch.equal(tensor, tensors[name]), name
    assert torch.equal(logits_of(ours), logits_of(theirs))


REPRESENTED = [  # what transformers reads too: of packed codes it makes weights of int8 and fails
    Layout(8, -1, True, "int8"),
    Layout(8, -1, True, "fp8", number="fp8"),
]


@pytest.mark.parametrize("layout", REPRESENTED, ids=str)
def test_inputs_are_represented_as_compressed_tensors_does(tiny_model: Path, tmp_path: Path, layout: Layout) -> None:
    """Its own modules round the inputs of every quantized linear; and that moves the logits."""
    folder = write_packed(tiny_model, tmp_path / "packed", "compressed_tensors", layout)
    config = AutoConfig.from_pretrained(folder)
    settings, cpu = dict(config.quantization_config), torch.device("cpu")
    assert packed.is_read_here(folder, settings, load_adapter(read_config(folder, "packed")))
    ours = packed.load(folder, config, settings, torch.float32, False, cpu).eval()
    options = {"dtype": torch.float32, "quantization_config": CompressedTensorsConfig(run_compressed=False)}
    theirs = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    torch.testing.assert_close(logits_of(ours), logits_of(theirs), rtol=1e-4, atol=2e-4)
    settings["config_groups"]["group_0"]["input_activations"] = None
    weights = packed.load(folder, AutoConfig.from_pretrained(folder), settings, torch.float32, False, cpu).eval()
    assert not torch.allclose(logits_of(ours), logits_of(weights), rtol=1e-3, atol=1e-3)


def test_fp8_is_the_nearest_of_all_by_token_and_by_group() -> None:
    x = torch.randn(3, 5, 256, generator=torch.Generator().manual_seed(0)) ** 3
    x[0, 0] = 0
    levels = torch.tensor(E4M3.values).unique()
    for group_size in (-1, 128):
        groups = x.unflatten(-1, (-1, 256 if group_size == -1 else group_size))
        scale = (groups.abs().amax(-1, keepdim=True) / 448).clamp(min=1e-30)
        nearest = ((groups / scale).unsqueeze(-1) - levels).abs().amin(-1) * scale
        found = packed.fp8(x, group_size)
        torch.testing.assert_close((found - x).abs(), nearest.flatten(-2), rtol=1e-3, atol=1e-5)


def test_what_transformers_reads_itself(tiny_model: Path, tmp_path: Path) -> None:
    """Transformed inputs, models with images, and what is of another format."""
    adapter = load_adapter(read_config(tiny_model, "tiny"))
    settings = compressed_tensors.settings(Layout(4, 32, False), ["lm_head"])
    assert packed.is_read_here(tiny_model, settings, adapter)
    for other in ({"transform_config": {"config_groups": {}, "a": 1}}, {"quant_method": "bitsandbytes"}):
        assert not packed.is_read_here(tiny_model, settings | other, adapter)
    assert not packed.is_read_here(tiny_model, settings, replace(adapter, text="text_config"))


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("weights", {"strategy": "tensor"}),
        ("weights", {"actorder": "group"}),
        ("weights", {"dynamic": True}),
        ("weights", {"symmetric": False}),
        ("input_activations", {"strategy": "tensor"}),
        ("input_activations", {"num_bits": 4}),
        ("input_activations", {"dynamic": False}),
        ("input_activations", {"symmetric": False}),
        ("output_activations", {"num_bits": 8}),
    ],
)
def test_what_others_write_beyond_what_we_do_is_transformers_to_load(
    tiny_model: Path, key: str, other: dict[str, Any]
) -> None:
    adapter = load_adapter(read_config(tiny_model, "tiny"))
    settings = compressed_tensors.settings(Layout(8, -1, True, "int8"), ["lm_head"])
    assert packed.is_read_here(tiny_model, settings, adapter)
    group = settings["config_groups"]["group_0"]
    group[key] = {**(group[key] or {}), **other}
    assert not packed.is_read_here(tiny_model, settings, adapter)


def test_what_nothing_loads_is_refused(tiny_model: Path, model: tuple[Path, Path]) -> None:
    settings = compressed_tensors.settings(Layout(4, 32, True), ["lm_head"]) | {"format": "mixed-precision"}
    plain, mixture = (load_adapter(read_config(folder, "it")) for folder in (tiny_model, model[0]))
    assert not packed.is_read_here(tiny_model, settings, plain)
    with pytest.raises(UserError, match="has the compression mixed-precision, which transformers does not load"):
        packed.is_read_here(model[0], settings, mixture)
    with pytest.raises(UserError, match="gptq in the layout 'marlin'"):
        packed.is_read_here(tiny_model, {"quant_method": "gptq", "checkpoint_format": "marlin"}, plain)
    with pytest.raises(UserError, match="awq of a model with images"):
        packed.is_read_here(tiny_model, {"quant_method": "awq"}, replace(plain, text="text_config"))


@pytest.mark.parametrize(
    ("form", "layout"),
    [("gptq", Layout(3, 32, False)), ("gptq", Layout(4, -1, True, zeros="v1")), ("awq", Layout(4, 32, False))],
)
def test_other_layouts_of_whole_models(tiny_model: Path, tmp_path: Path, form: str, layout: Layout) -> None:
    folder = write_packed(tiny_model, tmp_path / "packed", form, layout)
    twin = load_file(write_packed(tiny_model, tmp_path / "dense", "dense", layout) / "model.safetensors")
    loaded = Backend(folder, "cpu", False).model.state_dict()
    for name, tensor in twin.items():
        torch.testing.assert_close(loaded[name], tensor.float(), rtol=2**-8, atol=1e-6)  # scales of 16 bits, and floats


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
            module.represent = packed.int8_per_token
        elif (
            isinstance(module, torch.nn.Linear) and reason_for_float(cell.checkpoint.adapter, f"{name}.weight") is None
        ):
            module.register_forward_pre_hook(lambda _, args: (packed.int8_per_token(args[0]),))
    torch.testing.assert_close(found, logits_of(twin), rtol=1e-4, atol=1e-4)


def test_a_token_is_represented_by_integers_of_its_own_scale() -> None:
    x = torch.tensor([[127.5, -1.2, 0.0], [0.0, 0.0, 0.0]])
    assert packed.int8_per_token(x).tolist() == [[127.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


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
