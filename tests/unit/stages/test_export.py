"""Which format a cell ends up in, and what its manifest says about it."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from codes import quantized
from safetensors.torch import load_file

from ptqbench import spec
from ptqbench.errors import UserError
from ptqbench.formats.layout import Layout
from ptqbench.manifest import canonical, load
from ptqbench.stages import evaluate, export, quantize
from ptqbench.stages.export import held, transform_type

GROUPED = Layout(4, 32, False)
CELL = ("tiny", "text", "gptq", "w3g32")
CHOSEN = {"format": "gptq", "zeros": "v2"}


def test_a_format_that_holds_every_linear() -> None:
    linears = [quantized(32, 64, 4, 32, False)] * 2
    assert held(CHOSEN, "auto", GROUPED, linears) == ("gptq", None)
    assert held(CHOSEN, "gptq", GROUPED, linears) == ("gptq", None)


def test_dense_because_the_table_says_so() -> None:
    row = {"format": "dense", "because": "no kernel"}
    assert held(row, "auto", GROUPED, []) == ("dense", "no kernel")
    assert held(row, "dense", GROUPED, []) == ("dense", None), "it is what was asked for"


def test_dense_because_a_linear_does_not_fit() -> None:
    linears = [quantized(32, 64, 4, 32, False), quantized(30, 64, 4, 32, False)]
    name, reason = held(CHOSEN, "auto", GROUPED, linears)
    assert name == "dense"
    assert reason == "gptq cannot hold a linear of 30 x 64, which are not both multiples of 32"
    with pytest.raises(UserError, match=r"the format is 'gptq', but gptq cannot hold a linear of 30 x 64"):
        held(CHOSEN, "gptq", GROUPED, linears)


@pytest.mark.parametrize(
    ("asked", "method"), [("compressed_tensors", "compressed-tensors"), ("awq", "awq"), ("dense", None)]
)
def test_every_format_through_the_stage(chain, asked: str, method: str | None) -> None:
    config = deepcopy(chain.config)
    backend = "transformers" if asked == "compressed_tensors" else "vllm-cuda"
    config |= {"backend": backend, "schemes": {"w3g32": {**config["schemes"]["w3g32"], "format": asked}}}
    if asked == "awq":
        assert spec.export_spec(config, *CELL)["rows"] == [], "three bits"
        return
    out = chain.root / "out" / asked / "manifest.json"
    asks = canonical(spec.export_spec(config, *CELL))
    export.main(["--spec", asks, "--out", str(out), "--model", str(chain.model), "--quantized", str(chain.quantized)])
    manifest = load(out)
    assert (manifest["format"], manifest["reason"]) == (asked, None)
    folder = out.parent / "checkpoint"
    written = json.loads((folder / "config.json").read_text()).get("quantization_config", {})
    assert written.get("quant_method") == method
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    assert (f"{name}.weight" in tensors) is (asked == "dense")
    assert (f"{name}.weight_packed" in tensors) is (asked == "compressed_tensors")
    assert tensors["lm_head.weight"].dtype == torch.float32
    assert (folder / "tokenizer.json").is_file()
    assert (folder / "generation_config.json").is_file()


@pytest.fixture(scope="module")
def online(chain, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A config whose method transforms inputs at run time, and its codes."""
    config = deepcopy(chain.config)
    config["methods"]["gptq"]["transform"] = {"rotation": "online"}
    out = tmp_path_factory.mktemp("online") / "codes/manifest.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(chain.root)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        inputs = ["--model", chain.model, "--calibration", chain.tokens, "--statistics", chain.statistics]
        asks = canonical(spec.quantize_spec(config, *CELL))
        quantize.main(["--spec", asks, "--out", str(out), *map(str, inputs)])
    torch.set_grad_enabled(True)
    return config, out


def exported(chain, config: dict[str, Any], codes: Path, folder: Path) -> dict[str, Any]:
    out, asks = folder / "manifest.json", canonical(spec.export_spec(config, *CELL))
    export.main(["--spec", asks, "--out", str(out), "--model", str(chain.model), "--quantized", str(codes)])
    return load(out) | {"config": json.loads((folder / "checkpoint/config.json").read_text())}


def test_inputs_transformed_at_run_time(chain, online, tmp_path: Path) -> None:
    """Dense where the backend cannot, and packed with a ``transform_config`` for one that can: the same scores."""
    config, codes = online
    values = []
    for form in ("auto", "compressed_tensors"):
        asking = config | {"schemes": {"w3g32": {**config["schemes"]["w3g32"], "format": form}}}
        manifest = exported(chain, asking, codes, tmp_path / form)
        asks = canonical(spec.evaluate_spec(asking, *CELL, "ppl"))
        evaluate.main(
            ["--spec", asks, "--out", f"{tmp_path}/{form}.json", "--checkpoint", f"{tmp_path}/{form}/manifest.json"]
        )
        values.append(json.loads((tmp_path / f"{form}.json").read_text())["rows"][0]["value"])
        if form == "auto":
            assert (manifest["format"], manifest["reason"]) == ("dense", "transformers ignores transform_config")
            continue
        (group,) = manifest["config"]["quantization_config"]["transform_config"]["config_groups"].values()
        assert (group["type"], group["head_dim"]) == ("hadamard", 2 * tiny.HIDDEN)
        assert manifest["format"] == "compressed_tensors"
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_vllm_transforms_no_input_of_a_linear_with_a_bias() -> None:
    row = {"format": "compressed_tensors", "transform": "random-hadamard"}
    assert transform_type(row, {"down": 32}, {"down.weight", "up.bias"}) == "random-hadamard"
    assert transform_type(row, {"down": 32}, {"down.weight", "down.bias"}) is None
    assert transform_type({"format": "dense"}, {"down": 32}, {"down.weight"}) is None
