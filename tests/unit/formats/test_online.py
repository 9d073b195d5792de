"""Inputs transformed at run time: the packed checkpoint and its dense twin are one function, by other readers too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.transform import TransformConfig, TransformFactory
from safetensors.torch import load_file
from tiny_models import logits_of, make_cell, make_model, relative, write_statistics
from torch import Tensor
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.errors import UserError
from ptqbench.evaluation.backends.online import transform_inputs
from ptqbench.formats import compressed_tensors, dense, gptq, online
from ptqbench.formats.checkpoint import write_model
from ptqbench.formats.complete import lacking
from ptqbench.formats.layout import Layout
from ptqbench.linalg.basis import Basis
from ptqbench.linalg.orthogonal import kronecker, random_hadamard
from ptqbench.numbers.grid import Grid

METHOD = {"transform": [{"rotation": "hadamard"}, {"rotation": "online"}], "rounding": "gptq"}
WIDE = 96  # of the inner layer: three blocks of 32
LINEAR = "model.layers.0.mlp.down_proj"


class Made:
    """A cell with online transforms, whose codes are exported as tests ask."""

    def __init__(self, folder: Path) -> None:
        path = make_model(folder / "model", intermediate_size=WIDE)
        cell = make_cell(path, write_statistics(path, folder / "statistics"), METHOD, Grid(4, 32, False))
        self.cell, self.folder, changed = cell, folder, cell.outside()
        self.tensors, self.config = dict(changed.tensors), changed.config
        self.linears: dict[str, QuantizedLinear] = {}
        for index, (block, _) in enumerate(cell.blocks()):
            self.tensors |= {f"model.layers.{index}.{name}": tensor for name, tensor in block.tensors.items()}
            self.linears |= {f"model.layers.{index}.{name}": linear for name, linear in block.linears.items()}

    def write(self, kind: str | None) -> Path:
        """The checkpoint with a ``transform_config`` of a type, or the dense one."""
        form, layout = (compressed_tensors if kind else dense), Layout(4, 32, False, online=True, transform=kind)
        turned = online.widths(self.linears.items())
        matrices = online.tensors(turned, kind, torch.float32) if kind else {}
        settings = form.settings(layout, ["lm_head"])
        if kind and settings:
            settings["transform_config"] = online.settings(turned, kind)

        def replace(key: str, tensor: Tensor) -> dict[str, Tensor]:
            name = key.removesuffix(".weight")
            if name not in self.linears:
                return {key: self.tensors.get(key, tensor)}
            assert form.refuses(self.linears[name], layout) is None
            beside = {other: matrix for other, matrix in matrices.items() if other.startswith(f"{name}.")}
            return form.tensors(name, self.linears[name], torch.float32, layout) | beside

        write_model(self.cell.checkpoint, self.folder / f"{kind}", replace, settings, {}, self.config)
        return self.folder / f"{kind}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("online"))


def loaded(folder: Path) -> Any:
    """As transformers loads it: weights decompressed, ``transform_config`` ignored."""
    config = json.loads((folder / "config.json").read_text())
    packed = {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
    options = packed if "quantization_config" in config else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()


@pytest.mark.parametrize("kind", ["hadamard", "random-hadamard"])
def test_the_same_logits_as_the_dense_twin(made: Made, kind: str) -> None:
    expected, folder = logits_of(loaded(made.write(None))), made.write(kind)
    model = loaded(folder)
    assert relative(logits_of(model), expected) > 0.1, "the codes are of transformed weights"
    config = json.loads((folder / "config.json").read_text())["quantization_config"]["transform_config"]
    transform_inputs(model, folder, config)
    assert relative(logits_of(model), expected) < 1e-5


def test_the_librarys_other_half_takes_the_weights_there(made: Made) -> None:
    """``weight_input`` is what was done to the stored weights, as the library does it."""
    turned = online.widths(made.linears.items())
    assert turned == {f"model.layers.{index}.mlp.down_proj": 32 for index in range(2)}
    parsed = TransformConfig.model_validate(online.settings(turned, "hadamard"))
    scheme = parsed.config_groups["R4_32"]
    scheme.apply = [place for place in scheme.apply if not place.is_online()]
    model = loaded(made.write(None))
    before = model.get_parameter(f"{LINEAR}.weight").clone()
    TransformFactory.from_scheme(scheme, name="R4_32").apply_to_model(model, use_tqdm=False)
    packed = loaded(made.write("hadamard")).get_parameter(f"{LINEAR}.weight")
    assert relative(model.get_parameter(f"{LINEAR}.weight"), packed) < 1e-6
    assert relative(before, packed) > 0.1


def test_a_matrix_is_stored_once(made: Made) -> None:
    names = {name for name in load_file(made.write("random-hadamard") / "model.safetensors") if "R4" in name}
    assert names == {f"{LINEAR}.R4_32_input.weight"}
    assert not [name for name in load_file(made.write("hadamard") / "model.safetensors") if "R4" in name]


def test_a_matrix_that_is_missing_is_noticed(made: Made, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = made.write("random-hadamard")
    assert lacking(folder) == []
    whole = load_file(folder / "model.safetensors")
    rest = {name: tensor for name, tensor in whole.items() if "R4" not in name}
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    assert lacking(folder) == [f"{LINEAR}.R4_32_input.weight"]


def test_a_linear_that_is_not_there(made: Made) -> None:
    folder = made.write("hadamard")
    config = online.settings({"model.layers.7.mlp.down_proj": 32}, "hadamard")
    with pytest.raises(UserError, match=r"transforms the input of model\.layers\.7\.mlp\.down_proj, which its model"):
        transform_inputs(loaded(folder), folder, config)


def test_what_else_transforms_is_not_said_so(made: Made) -> None:
    layout = Layout(4, 32, False, online=True, transform="hadamard")
    linear = made.linears[LINEAR]
    assert compressed_tensors.refuses(linear, layout) is None
    assert compressed_tensors.refuses(linear, Layout(4, 32, False)) == "a transform of inputs at run time"
    assert gptq.refuses(linear, layout) == "a transform of inputs at run time"
    fields = vars(linear)
    for other in (random_hadamard(WIDE, 0), kronecker(WIDE, 0)):
        assert online.width(QuantizedLinear(**{**fields, "basis": Basis(right=other)})) is None
    both = QuantizedLinear(**{**fields, "basis": replace(linear.basis, left=random_hadamard(64, 0))})
    assert compressed_tensors.refuses(both, layout) == "transforms of single linears"
