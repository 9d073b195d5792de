"""A W8A8 checkpoint as transformers loads it computes int8 activations per token, and nothing else drops them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import logits_of, make_cell, make_model, write_statistics
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from ptqbench.errors import UserError
from ptqbench.formats import compressed_tensors
from ptqbench.formats.checkpoint import write_model
from ptqbench.formats.layout import Layout
from ptqbench.linalg.basis import Basis
from ptqbench.numbers.grid import Grid
from ptqbench.stages.export import held

SCHEME = {"bits": 8, "group_size": -1, "symmetric": True}
LAYOUT = Layout(8, -1, True, "int8")


def per_token(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    """Symmetric int8 per token: ``round(x / s)`` with ``s = 2 max|x| / 255``, as compressed-tensors has it."""
    x = args[0]
    scale = 2 * x.abs().amax(-1, keepdim=True) / 255
    return (torch.round(x / scale).clamp(-128, 127) * scale,)


def test_transformers_computes_what_the_scheme_says(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    grid = Grid(**SCHEME)
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {"transform": "smooth"}, grid)
    blocks = [block for block, _ in cell.blocks()]
    linears = {f"model.layers.{i}.{name}": q for i, block in enumerate(blocks) for name, q in block.linears.items()}
    changed = {f"model.layers.{i}.{name}": t for i, block in enumerate(blocks) for name, t in block.tensors.items()}

    def replace(key: str, tensor: Tensor) -> dict[str, Tensor]:
        name = key.removesuffix(".weight")
        if name in linears:
            return compressed_tensors.tensors(name, linears[name], torch.float32, LAYOUT)
        return {key: changed.get(key, tensor)}

    settings = compressed_tensors.settings(LAYOUT, ["lm_head"])
    write_model(cell.checkpoint, tmp_path / "packed", replace, settings, {}, {})
    assert json.loads((tmp_path / "packed/config.json").read_text())["quantization_config"]["format"] == "int-quantized"
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "packed", dtype=torch.float32, quantization_config=CompressedTensorsConfig(run_compressed=False)
    ).eval()
    twin = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    twin.load_state_dict({**changed, **{f"{n}.weight": q.dequantize() for n, q in linears.items()}}, strict=False)
    weight_only = logits_of(twin)
    for name, module in twin.named_modules():
        if name in linears:
            module.register_forward_pre_hook(per_token)
    torch.testing.assert_close(logits_of(loaded), logits_of(twin), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(weight_only, logits_of(twin), rtol=1e-3, atol=1e-3)


def test_dense_refuses_quantized_activations(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, Grid(**SCHEME))
    linears = list(next(iter(cell.blocks()))[0].linears.values())
    assert held({"format": "compressed_tensors"}, "auto", LAYOUT, linears) == ("compressed_tensors", None)
    with pytest.raises(UserError, match="dense cannot hold quantized activations"):
        held({"format": "dense"}, "dense", LAYOUT, linears)
    linears[0].basis = Basis(torch.ones(linears[0].codes.shape[1]))
    with pytest.raises(UserError, match=r"channel scale .* dense cannot hold quantized activations"):
        held({"format": "compressed_tensors"}, "auto", LAYOUT, linears)
