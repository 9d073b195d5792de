"""What a cell is said to take, counted again in its files: codes, scales, zero-points, seeds, what stays in float."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_cell, make_model, save_with, transformed_tensors, write_statistics

from ptqbench import spec
from ptqbench.artifacts.linear import packed_bytes
from ptqbench.drive.cell import Cell
from ptqbench.manifest import NAME, canonical, verify
from ptqbench.numbers.grid import Grid
from ptqbench.places import checkpoint_folder
from ptqbench.stages import export, quantize

METHODS: dict[str, dict[str, Any]] = {
    "rtn": {},
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "quip without rescaling": {"transform": {"incoherence": {"rescale": False}}},
    "hadamard quip": {"transform": {"incoherence": {"kind": "hadamard"}}, "range": {"rms": {"zero": "integer"}}},
    "awq": {"transform": "salience"},
    "rotated": {"transform": [{"rotation": "hadamard"}, {"rotation": "online"}]},
    "rotated awq": {"transform": [{"rotation": "hadamard"}, "salience"]},
}
SCALE, SEED = 16, 64  # bits


@pytest.fixture(scope="module", params=["llama", "tied", "tied mamba", "mixtral"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sizes")
    path = make_model(folder / "model", request.param, torch.bfloat16)
    return path, write_statistics(path, folder / "statistics")


def bits_of_site(stored: dict[str, torch.Tensor], site: Any) -> int:
    """Of one site in a block's file, tensor by tensor: every name is accounted for or fails."""
    total = 0
    for linear in site.linears:
        bits, symmetric, m, n = stored.pop(f"{linear}.meta").tolist()
        words = stored.pop(f"{linear}.codes")
        assert words.numel() * 32 < m * (n * bits + 32)
        zero, scale = stored.pop(f"{linear}.zero"), stored.pop(f"{linear}.scale")
        total += m * n * bits + SCALE * scale.numel()
        total += 0 if symmetric or zero.is_floating_point() else bits * zero.numel()
        for kind in ("kronecker", "hadamard"):
            total += 0 if stored.pop(f"{linear}.left.{kind}", None) is None else SEED
    scale = stored.pop(f"input.{site.name}.channel_scale", torch.empty(0))
    total += SCALE * scale.numel()
    for kind, size in {"kronecker": SEED, "hadamard": SEED, "block_hadamard": 0}.items():
        total += 0 if stored.pop(f"input.{site.name}.right.{kind}", None) is None else size
    return total


def header_bytes(file: Path) -> int:
    """What a safetensors file has before its tensors."""
    with open(file, "rb") as stream:
        return 8 + struct.unpack("<Q", stream.read(8))[0]


def data_bytes(folder: Path) -> int:
    return sum(file.stat().st_size - header_bytes(file) for file in folder.glob("*.safetensors"))


@pytest.mark.parametrize("method", METHODS)
def test_bytes_are_those_counted_in_the_artifact(model: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    with torch.no_grad():
        cell = make_cell(*model, METHODS[method], Grid(2, 32, half_integer=method == "quip"))
        for index, (block, _) in enumerate(cell.blocks()):
            save_file(quantize.state_of(block), tmp_path / "block.safetensors")
            stored = load_file(tmp_path / "block.safetensors")
            found = {name: packed_bytes(linears) for name, linears in block.sites().items()}
            sites = [site for site in cell.checkpoint.adapter.sites(cell.checkpoint.config, index) if site.linears]
            assert found == {site.name: -(-bits_of_site(stored, site) // 8) for site in sites}
            assert all(name.startswith("float.") for name in stored), "and nothing else is stored"


@pytest.mark.parametrize("method", METHODS)
def test_float_bytes_are_those_of_a_written_checkpoint(model: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    """Written whole in the model's dtype, a cell is what stays in float and two bytes for each quantized weight."""
    cell: Cell = make_cell(*model, METHODS[method], Grid(3, 32))
    sizes = quantize.float_sizes(cell, cell.outside())
    tensors = {name: tensor.bfloat16() for name, tensor in transformed_tensors(cell).items()}
    written = data_bytes(save_with(cell, tensors, tmp_path / "written"))
    n_weights = sum(cell.checkpoint.tensor(f"{linear}.weight").numel() for linear in cell.checkpoint.linears())
    assert sizes["float_bytes"] == written - 2 * n_weights
    assert sizes["added_bytes"] == written - data_bytes(model[0])
    unties = "rotated" in method and json.loads((model[0] / "config.json").read_text())["tie_word_embeddings"]
    assert (sizes["added_bytes"] > 0) == unties


# `chain` comes from conftest.py
@pytest.mark.parametrize("method", ["quip", "rotated", "rtn"])
def test_a_dense_export_says_what_packing_would_take(chain: Any, tmp_path: Path, method: str) -> None:
    config = {**chain.config, "methods": {method: METHODS[method]}, "export": {"format": "dense"}}
    cell = ("tiny", "text", method, "w3g32")
    inputs = ["--model", str(chain.model), "--calibration", str(chain.tokens), "--statistics", str(chain.statistics)]
    codes, packed = tmp_path / "codes" / NAME, tmp_path / "packed" / NAME
    quantize.main(["--spec", canonical(spec.quantize_spec(config, *cell)), "--out", str(codes), *inputs])
    asked = canonical(spec.export_spec(config, *cell))
    export.main(["--spec", asked, "--out", str(packed), "--model", str(chain.model), "--quantized", str(codes)])
    made, found = verify(codes), verify(packed)
    beside = header_bytes(checkpoint_folder(packed, found) / "model.safetensors")
    assert found["packed_weight_bytes"] == made["packed_bytes"] + made["float_bytes"] + beside
    assert found["weight_bytes"] == 4 * made["n_weights"] + made["float_bytes"] + beside
