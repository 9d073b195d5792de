"""A cell of mixed widths, from the knapsack to a checkpoint that transformers reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from ptqbench import spec
from ptqbench.artifacts.cell import QuantizedCell
from ptqbench.manifest import canonical, verify
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.places import checkpoint_folder
from ptqbench.stages import export, quantize

# `chain` comes from conftest.py; its paths are relative to the folder that the stages ran in, the present one

SCHEMES: dict[str, dict[str, Any]] = {
    "w3g32": {"bits": 3, "group_size": 32},
    "mixed-2.6": {"bits": "mixed", "budget": 2.6, "choices": [2, 3, 4], "group_size": 32},
    "mixed-3": {"bits": "mixed", "budget": 3, "choices": [2, 3, 4], "group_size": 32},
    "mixed-2": {"bits": "mixed", "budget": 2, "choices": [2, 4], "group_size": 32},
}
METHOD = {"transform": "salience", "range": "search", "rounding": "gptq"}
CONFIG = {
    "models": {"tiny": {"path": "model"}},
    "calibration": {"text": {"corpus": "train.txt", "samples": 8, "sequence_length": 32}},
    "schemes": SCHEMES,
    "methods": {"m": METHOD},
}


@pytest.fixture(scope="module")
def made(chain) -> dict[str, dict[str, Any]]:
    """The manifest of every scheme's cell."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(chain.root)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        inputs = [
            "--model",
            str(chain.model),
            "--statistics",
            str(chain.statistics),
            "--calibration",
            str(chain.tokens),
        ]
        for name in SCHEMES:
            out = Path("out/mixed", name, "manifest.json")
            asked = spec.quantize_spec(CONFIG, "tiny", "text", "m", name)
            quantize.main(["--spec", canonical(asked), "--out", str(out), *inputs])
            found[name] = verify(out)
    torch.set_grad_enabled(True)
    return found


def bits_of(name: str) -> dict[str, int]:
    cell = QuantizedCell(Path("out/mixed", name, "manifest.json"), Checkpoint(Path("model")))
    return {key: linear.bits for key, linear in cell.linears()}


def test_a_mixed_cell_takes_no_more_than_the_uniform_one_of_its_budget(made: dict[str, dict[str, Any]]) -> None:
    sizes = {name: content["packed_bytes"] for name, content in made.items()}
    assert sizes["mixed-3"] <= sizes["w3g32"]
    assert sizes["mixed-2"] < sizes["mixed-2.6"] < sizes["mixed-3"]
    assert sizes["mixed-2.6"] > 0.97 * (sizes["mixed-2"] + 0.6 * (sizes["w3g32"] - sizes["mixed-2"]))


def test_widths_are_recorded_and_are_those_of_the_codes(made: dict[str, dict[str, Any]]) -> None:
    sites = {"q_proj": "attention", "o_proj": "attention_out", "up_proj": "mlp", "down_proj": "mlp_out"}
    widths, found = made["mixed-2.6"]["widths"], bits_of("mixed-2.6")
    assert len(set(found.values())) > 1
    for name, bits in found.items():
        block, linear = name.removeprefix("model.layers.").split(".", 1)
        if site := sites.get(linear.rsplit(".", 1)[1]):
            assert widths[f"{block}.{site}"] == bits
    assert set(bits_of("mixed-2").values()) == {2}
    assert made["w3g32"]["widths"] == {}


def test_linears_of_a_site_share_a_width(made: dict[str, dict[str, Any]]) -> None:
    found = bits_of("mixed-2.6")
    for block in range(2):
        prefix = f"model.layers.{block}."
        assert len({found[f"{prefix}self_attn.{name}_proj"] for name in "qkv"}) == 1
        assert found[f"{prefix}mlp.gate_proj"] == found[f"{prefix}mlp.up_proj"]


def test_a_checkpoint_of_mixed_widths_is_read_to_the_bit(made: dict[str, dict[str, Any]], chain) -> None:
    folders = {}
    for asked in ("auto", "dense"):
        out = Path("out/mixed-packed", asked, "manifest.json")
        settings = {**CONFIG, "export": {"format": asked}}
        cell = spec.export_spec(settings, "tiny", "text", "m", "mixed-2.6")
        inputs = ["--model", str(chain.model), "--quantized", "out/mixed/mixed-2.6/manifest.json"]
        export.main(["--spec", canonical(cell), "--out", str(out), *inputs])
        folders[asked] = checkpoint_folder(out, verify(out))
        assert verify(out)["format"] == {"auto": "compressed_tensors"}.get(asked, asked)
    groups = json.loads((folders["auto"] / "config.json").read_text())["quantization_config"]["config_groups"]
    assert {group["weights"]["num_bits"] for group in groups.values()} == set(bits_of("mixed-2.6").values())
    unpacked = CompressedTensorsConfig(run_compressed=False)
    packed = AutoModelForCausalLM.from_pretrained(folders["auto"], dtype=torch.float32, quantization_config=unpacked)
    wanted = load_file(folders["dense"] / "model.safetensors")
    for name, tensor in packed.state_dict().items():
        if name in wanted:
            assert torch.equal(tensor, wanted[name].float()), name
