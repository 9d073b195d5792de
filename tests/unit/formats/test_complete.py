"""A checkpoint that lacks any tensor of a packed linear is known before it is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from codes import write_packed
from safetensors.torch import load_file, save_file

from ptqbench.formats.complete import lacking
from ptqbench.formats.layout import Layout
from ptqbench.models.files import INDEX, WEIGHTS

LINEAR = "model.layers.1.mlp.down_proj"
CASES = {
    "compressed_tensors": (
        Layout(4, 32, False),
        ["weight_packed", "weight_scale", "weight_shape", "weight_zero_point"],
    ),
    "compressed_tensors symmetric": (Layout(4, 32, True), ["weight_packed", "weight_scale", "weight_shape"]),
    "compressed_tensors int8": (Layout(8, -1, True, "int8"), ["weight", "weight_scale"]),
    "gptq": (Layout(4, 32, False), ["qweight", "qzeros", "scales", "g_idx"]),
    "awq": (Layout(4, 32, False), ["qweight", "qzeros", "scales"]),
    "dense": (Layout(4, 32, False), []),
}


@pytest.mark.parametrize("case", CASES)
def test_any_part_of_a_linear(tmp_path: Path, case: str) -> None:
    layout, parts = CASES[case]
    folder = write_packed(tiny.write_model(tmp_path / "model"), tmp_path / "packed", case.split()[0], layout)
    whole = load_file(folder / "model.safetensors")
    assert {name.rpartition(".")[2] for name in whole if name.startswith(LINEAR)} == set(parts or ["weight"])
    assert lacking(folder) == []
    for part in parts:
        rest = {name: tensor for name, tensor in whole.items() if name != f"{LINEAR}.{part}"}
        save_file(rest, folder / "model.safetensors", {"format": "pt"})
        assert lacking(folder) == [f"{LINEAR}.{part}"]


def test_what_the_index_names(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "model")
    named = dict.fromkeys(("model.norm.weight", "model.other.weight"), WEIGHTS)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": named}))
    assert lacking(folder) == ["model.other.weight"]
