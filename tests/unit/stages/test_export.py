"""Which format a cell ends up in, and what its manifest says about it."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch
from codes import quantized
from safetensors.torch import load_file

from ptqbench import spec
from ptqbench.errors import UserError
from ptqbench.formats.layout import Layout
from ptqbench.manifest import canonical, load
from ptqbench.stages import export
from ptqbench.stages.export import held

GROUPED = Layout(4, 32, False)
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
    cell = ("tiny", "text", "gptq", "w3g32")
    if asked == "awq":
        assert spec.export_spec(config, *cell)["rows"] == [], "three bits"
        return
    out = chain.root / "out" / asked / "manifest.json"
    asks = canonical(spec.export_spec(config, *cell))
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
