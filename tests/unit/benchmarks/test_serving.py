"""The benchmark's random checkpoints are whole, and both weights are measured in one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import torch
from clone import REPOSITORY
from scripts import script
from serving import alive, environment, fake_environment, started, within
from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig

from ptqbench.formats.complete import lacking


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return script("serving")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake serving environment, without a GPU; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(tmp_path / "pids"))
    return fake_environment(tmp_path / "environment")


@pytest.mark.parametrize("weights", ["bf16", "w4g128", "nvfp4", "mxfp4", "mxfp8", "fp8", "fp8-dynamic"])
def test_checkpoints(benchmark: ModuleType, tmp_path: Path, weights: str) -> None:
    shape, layout = benchmark.SHAPES["tiny"], benchmark.WEIGHTS[weights].layout
    folder = benchmark.write_checkpoint(tmp_path / "made", shape, layout)
    assert lacking(folder) == []
    options = {"quantization_config": CompressedTensorsConfig(run_compressed=False)} if layout else {}
    loading = {"dtype": torch.bfloat16, "output_loading_info": True, **options}
    model, told = AutoModelForCausalLM.from_pretrained(folder, **loading)
    assert not told["missing_keys"]
    linears = [m.weight for name, m in model.named_modules() if name.endswith("_proj")]
    assert len(linears) == 7 * shape["num_hidden_layers"]
    for weight in linears:
        assert weight.float().std().item() == pytest.approx(benchmark.SPREAD, rel=0.05)
    assert bool(model(torch.arange(20)[None]).logits.isfinite().all())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == shape["vocab_size"]
    assert tokenizer.decode([5]) == "t5"


def test_the_shapes_are_llama_3s(benchmark: ModuleType) -> None:
    shape = benchmark.SHAPES["llama-3-8b"]
    linear = sum(m * n for m, n in benchmark.linears(shape).values()) * shape["num_hidden_layers"]
    norms = (2 * shape["num_hidden_layers"] + 1) * shape["hidden_size"]
    assert linear + 2 * shape["vocab_size"] * shape["hidden_size"] + norms == 8_030_261_248


def test_both_weights_are_measured(
    benchmark: ModuleType, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--batches", "1", "2", "--prompt-tokens", "8", "--output-tokens", "4", "--repeats", "2"]
    benchmark.main(["--shape", "tiny", "--server", str(marker), "--folder", str(tmp_path), *few, "--out", "made.csv"])
    table = pl.read_csv("made.csv")
    assert table["weights"].unique(maintain_order=True).to_list() == ["w4g128", "bf16"]
    assert set(table["server"]) == {"vllm 0.0.fake"}
    sizes = dict(table.filter(metric="weights_gib").select("weights", "value").iter_rows())
    assert sizes["w4g128"] < 0.6 * sizes["bf16"]
    assert "w4g128 / bf16" in capsys.readouterr().out
    assert not any(map(alive, started(tmp_path / "pids")))
    assert not list(tmp_path.glob("tmp*")), "the checkpoints are removed"


def test_a_run_that_is_cut_short_keeps_its_rows(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SIGTERM, while the second checkpoint is served."""
    marker, pids = fake_environment(tmp_path / "environment"), tmp_path / "pids"
    few = ["--batches", "1", "--prompt-tokens", "8", "--output-tokens", "4", "--repeats", "1", "--out", "made.csv"]
    command = [
        sys.executable,
        str(REPOSITORY / "benchmarks/serving.py"),
        "--shape",
        "tiny",
        "--server",
        str(marker),
        "--folder",
        str(tmp_path),
        *few,
    ]
    variables = environment(pids, "second-never-ready") | {"PYTHONPATH": str(REPOSITORY / "src")}
    run = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.DEVNULL)
    assert within(60, lambda: len(started(pids)) == 4)
    assert within(20, lambda: (tmp_path / "made.csv").exists())
    run.terminate()
    run.wait(60)
    table = pl.read_csv(tmp_path / "made.csv")
    assert set(table["weights"]) == {"w4g128"}
    assert "tokens_per_second" in table["metric"].to_list()
    assert within(20, lambda: not any(map(alive, started(pids))))
    assert not list(tmp_path.glob("tmp*")), "the checkpoints are removed"


def test_a_server_that_cannot_record_is_measured_all_the_same(
    benchmark: ModuleType, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--batches", "1", "--prompt-tokens", "8", "--output-tokens", "4", "--repeats", "1", "--profile"]
    with pytest.raises(SystemExit, match="not all weights have a profile"):
        benchmark.main(["--shape", "tiny", "--server", str(marker), "--folder", str(tmp_path), *few, "--out", "m.csv"])
    assert pl.read_csv("m.csv")["weights"].unique(maintain_order=True).to_list() == ["w4g128", "bf16"]
    assert "bf16.server: no profile: " in capsys.readouterr().err
