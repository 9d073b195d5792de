"""What the stages wrote is what their artifacts claim: every stage against an independent calculation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig, PreTrainedModel

from ptqbench.data.calibration import read_tokens
from ptqbench.evaluation.backends import packed, transformers
from ptqbench.manifest import read_result, verify
from ptqbench.places import checkpoint_folder, model_folder
from ptqbench.statistics.hessian import unfold

# `chain` comes from conftest.py; its paths are relative to the folder that the stages ran in, the present one


def load_model(folder: str | Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def linears(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Weights of the linears in the blocks, by name."""
    modules = dict(model.model.layers.named_modules(prefix="model.layers"))
    return {name: module.weight.detach() for name, module in modules.items() if isinstance(module, torch.nn.Linear)}


def test_every_artifact_is_whole_and_says_what_made_it(chain) -> None:
    manifests = [chain.model, chain.tokens, chain.statistics, chain.quantized, chain.packed, chain.baseline]
    stages = ["prepare", "calibrate", "statistics", "quantize", "export", "export"]
    for manifest, stage in zip(manifests, stages, strict=True):
        content = verify(manifest)
        assert f"ptqbench/stages/{stage}.py" in content["code"]
        assert content["versions"]["torch"] == torch.__version__
    for manifest in manifests[2:5]:
        assert "ptqbench/models/adapters/llama.py" in verify(manifest)["code"]
    assert "ptqbench/methods/rounding/gptq.py" in verify(chain.quantized)["code"]


def test_a_local_model_stays_where_it_is(chain) -> None:
    content = verify(chain.model)
    assert model_folder(chain.model, content) == Path("model")
    assert content["adapter"] == "llama"
    assert content["n_blocks"] == tiny.BLOCKS
    assert content["weight_bytes"] == Path("model/model.safetensors").stat().st_size


def test_tokens_are_passages_of_the_text(chain) -> None:
    tokens = read_tokens(chain.tokens.parent / "tokens.parquet")
    assert tokens.shape == (8, 32)
    stream = AutoTokenizer.from_pretrained("model")(Path("train.txt").read_text())["input_ids"]
    passages = {tuple(stream[start : start + 32]) for start in range(len(stream) - 31)}
    assert all(tuple(row) in passages for row in tokens.tolist())


def test_statistics_are_those_of_the_whole_model(chain) -> None:
    model, read = load_model("model"), {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, args, name=name: read.update({name: args[0].flatten(0, -2)}))
    with torch.no_grad():
        model(torch.from_numpy(read_tokens(chain.tokens.parent / "tokens.parquet")).long())
    for block in range(tiny.BLOCKS):
        found = load_file(chain.statistics.parent / f"block-{block:03d}.safetensors")
        for site, linear in (("attention", "self_attn.v_proj"), ("mlp_out", "mlp.down_proj")):
            x = read[f"model.layers.{block}.{linear}"].double()
            hessian = unfold(found[f"{site}.hessian"], x.shape[1]).double()
            torch.testing.assert_close(hessian, x.T @ x / len(x), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(found[f"{site}.mean_abs"].double(), x.abs().mean(0), rtol=1e-5, atol=1e-7)
            assert found[f"{site}.tokens"].item() == 8 * 32 == len(x)


def test_the_recorded_loss_is_that_of_the_exported_weights(chain) -> None:
    """tr(ΔW H ΔWᵀ) from the checkpoint that others load, against the manifest of the cell."""
    before, packed = linears(load_model("model")), verify(chain.packed)
    after = linears(
        AutoModelForCausalLM.from_pretrained(
            checkpoint_folder(chain.packed, packed),
            dtype=torch.float32,
            quantization_config=CompressedTensorsConfig(run_compressed=False),
        )
    )
    records = {layer["linear"]: layer for layer in verify(chain.quantized)["layers"]}
    assert {f"model.layers.{name}" for name in records} == set(before)
    sites = {"v_proj": "attention", "down_proj": "mlp_out", "o_proj": "attention_out", "up_proj": "mlp"}
    for block in range(tiny.BLOCKS):
        found = load_file(chain.statistics.parent / f"block-{block:03d}.safetensors")
        for name, record in records.items():
            if name.startswith(f"{block}.") and (site := sites.get(name.rsplit(".", 1)[1])):
                delta = (before[f"model.layers.{name}"] - after[f"model.layers.{name}"]).double()
                hessian = unfold(found[f"{site}.hessian"], delta.shape[1]).double()
                loss = ((delta @ hessian) * delta).sum().item()
                assert record["proxy_loss"] == pytest.approx(loss, rel=1e-3)
                assert record["proxy_loss"] < record["nearest_proxy_loss"]


@pytest.mark.parametrize("by_transformers", [False, True])
def test_a_packed_checkpoint_moves_to_another_device(
    chain, monkeypatch: pytest.MonkeyPatch, by_transformers: bool
) -> None:
    """compressed-tensors keeps the weights where they were loaded, and computes there, unless it is told not to."""
    if by_transformers:
        monkeypatch.setattr(packed, "is_read_here", lambda *args: False)
    backend = transformers.Backend(checkpoint_folder(chain.packed, verify(chain.packed)), "cpu", remote=False)
    assert {weight.device.type for weight in backend.model.to("meta").parameters()} == {"meta"}


def test_exported_weights_take_few_values(chain) -> None:
    packed = verify(chain.packed)
    assert packed["format"] == "compressed_tensors"
    settings = CompressedTensorsConfig(run_compressed=False)
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint_folder(chain.packed, packed), dtype=torch.float32, quantization_config=settings
    )
    for name, weight in linears(model).items():
        for group in weight.unflatten(1, (-1, 32)).flatten(0, 1)[:50]:
            assert len(group.unique()) <= 8, name


def test_what_is_not_quantized_is_untouched(chain) -> None:
    before = load_file("model/model.safetensors")
    after = load_file(checkpoint_folder(chain.packed, verify(chain.packed)) / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert torch.equal(before[name], after[name])


def test_sizes_are_those_on_disk(chain) -> None:
    packed, quantized = verify(chain.packed), verify(chain.quantized)
    size = (checkpoint_folder(chain.packed, packed) / "model.safetensors").stat().st_size
    assert packed["weight_bytes"] == packed["packed_weight_bytes"] == size
    weights = linears(load_model("model"))
    assert quantized["n_weights"] == sum(weight.numel() for weight in weights.values())
    bits = 8 * quantized["packed_bytes"] / quantized["n_weights"]
    assert bits == pytest.approx(3 + (16 + 3) / 32)
    assert verify(chain.baseline)["weight_bytes"] == Path("model/model.safetensors").stat().st_size


def test_perplexity_of_the_baseline_is_the_models(chain) -> None:
    model = load_model("model")
    ids = AutoTokenizer.from_pretrained("model")(Path("test.txt").read_text())["input_ids"]
    cut = torch.tensor(ids[: 4 * tiny.CONTEXT]).view(4, tiny.CONTEXT)
    with torch.no_grad():
        losses = [model(input_ids=row[None], labels=row[None]).loss.item() for row in cut]
    row = read_result(chain.baseline_result)["rows"][0]
    assert row["value"] == pytest.approx(math.exp(sum(losses) / 4), rel=1e-5)
    assert (row["metric"], row["task"], row["n"]) == ("perplexity", "test", 4)


def test_results_say_how_they_were_made(chain) -> None:
    cell, baseline = read_result(chain.result), read_result(chain.baseline_result)
    assert (cell["backend"], cell["export"]) == ("transformers", "compressed_tensors")
    assert baseline["export"] == "float"
    assert cell["spec"]["suite"]["name"] == "ppl"
    assert cell["rows"][0]["value"] != baseline["rows"][0]["value"]
    for content in (cell, baseline, verify(chain.quantized), verify(chain.statistics)):
        assert content["seconds"] > 0
        assert content["peak_memory_bytes"] > 2**20
        assert content["device"] == "cpu"
