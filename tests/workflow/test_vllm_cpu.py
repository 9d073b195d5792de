"""vLLM itself, on the CPU: what the choice table says it serves, it serves as transformers computes it.

Its environment (3.4 GB, two minutes) is built once for a user, as the workflow does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from codes import write_packed
from gpu.sweep import Case, sweep
from safetensors.torch import load_file, save_file

from ptqbench.errors import UserError
from ptqbench.evaluation import perplexity, tasks, throughput
from ptqbench.evaluation.backends import transformers, vllm
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.runtime import server_python
from ptqbench.formats.choice import formats
from ptqbench.formats.layout import Layout

pytestmark = pytest.mark.timeout(1800)

CASES = {
    "dense": ("dense", Layout(3, 32, False)),
    "compressed-tensors W4": ("compressed_tensors", Layout(4, 32, False)),
    "compressed-tensors W8A8": ("compressed_tensors", Layout(8, -1, True, "int8")),
    "gptq W4": ("gptq", Layout(4, 32, True, zeros="v1")),
    "awq W4": ("awq", Layout(4, 32, False)),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[str, Layout]:
    return CASES[request.param]


@pytest.fixture
def folder(case: tuple[str, Layout], source: Path, tmp_path: Path) -> Path:
    form, layout = case
    assert form in formats("vllm-cpu", layout)
    return write_packed(source, tmp_path / "packed", form, layout)


@pytest.fixture
def twin(case: tuple[str, Layout], folder: Path, source: Path, tmp_path: Path) -> Path:
    """What transformers loads: the same, or the dense twin of formats that it needs other packages for."""
    form, layout = case
    if form == "compressed_tensors":
        return folder
    return write_packed(source, tmp_path / "twin", "dense", Layout(layout.bits, layout.group_size, layout.symmetric))


@pytest.fixture
def served(folder: Path, marker: Path, tmp_path: Path) -> Iterator[vllm.Backend]:
    setup = Setup("vllm-cpu", "cpu", False, tiny.CONTEXT, False, (), marker, tmp_path / "server.log")
    with vllm.opened(Text(folder, False), setup) as backend:
        yield backend


def write_task(folder: Path) -> Path:
    folder.mkdir()
    words = [(a, b) for a in tiny.WORDS for b in ("cat", "dog") if a != b]
    rows = [{"good": f"the {a} sees the {b}", "bad": f"{b} the sees the {a} house river"} for a, b in words]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"train": str(folder / "pairs.jsonl")}}}
    shared = {**data, "validation_split": "train", "doc_to_text": "The"}
    choice = {"output_type": "multiple_choice", "doc_to_target": 0, "doc_to_choice": "{{[good, bad]}}"}
    generate = {"output_type": "generate_until", "doc_to_target": "{{good}}"}
    options = {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 4}}
    accuracy = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    match = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    (folder / "a.yaml").write_text(yaml.safe_dump({"task": "pairs", **shared, **choice, "metric_list": accuracy}))
    (folder / "b.yaml").write_text(
        yaml.safe_dump({"task": "said", **shared, **generate, **options, "metric_list": match})
    )
    return folder


def test_it_serves_what_transformers_computes(served: vllm.Backend, twin: Path, tmp_path: Path) -> None:
    local = transformers.Backend(twin, "cpu", remote=False)
    (tmp_path / "t.txt").write_text(tiny.text(3000))
    suite = {"name": "ppl", "corpora": {"t": str(tmp_path / "t.txt")}, "limit": 8}
    ours, theirs = perplexity.run(local, suite)[0], perplexity.run(served, suite)[0]
    assert theirs["n"] == ours["n"] == 8
    assert theirs["value"] == pytest.approx(ours["value"], rel=5e-3)
    window = torch.tensor(local.tokenize(tiny.text(3000))[: tiny.CONTEXT])
    assert len(window) == tiny.CONTEXT, "a window as long as the context is served, too"

    folder = write_task(tmp_path / "task")
    found = tasks.run(served, {"name": "t", "path": str(folder), "tasks": ["pairs", "said"], "limit": 12})
    rows = {row["metric"]: row for row in found}
    expected = tasks.run(local, {"name": "t", "path": str(folder), "tasks": ["pairs"], "limit": 12})[0]
    assert rows["acc"]["n"] == 12
    assert rows["acc"]["value"] == pytest.approx(expected["value"], abs=2 / 12)
    assert rows["exact_match"]["n"] == 12
    assert served.record()["server"] == "vllm 0.30.0"
    check_throughput(served)


def check_throughput(served: vllm.Backend) -> None:
    suite = {"name": "speed", "prompt_tokens": 16, "output_tokens": 48, "batches": [1, 4], "repeats": 2}
    rows = {(row["task"], row["metric"]): row["value"] for row in throughput.run(served, suite)}
    assert rows["batch 1", "tokens_per_second"] > 1
    assert rows["batch 4", "tokens_per_second"] > 1
    assert 0 < rows["batch 1", "first_token_seconds"] < 60
    assert rows["memory", "peak_gib"] > 0.3


def test_a_checkpoint_that_lacks_a_norm(source: Path, marker: Path, tmp_path: Path) -> None:
    """Seen by vLLM itself."""
    folder = write_packed(source, tmp_path / "dense", "dense", Layout(4, 32, True))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    setup = Setup("vllm-cpu", "cpu", False, 24, False, (), marker, tmp_path / "server.log")
    with (
        pytest.raises(UserError, match=r"did not come up: ValueError: .*model\.norm\.weight"),
        vllm.opened(Text(folder, False), setup),
    ):
        pass


def test_the_sweep_of_gptq_checkpoints(marker: Path, tmp_path: Path) -> None:
    """What settles on a GPU which of them are read right, with those that a CPU serves."""
    python, table = str(server_python(marker)), tmp_path / "sweep.csv"
    wanted = [Case(256), Case(256, 4, 128, True, "v1"), Case(256, 3, 128, True, "v1")]
    rows = {(row["hidden"], row["bits"]): row for row in sweep(wanted, table, python, gpu=False, seconds=300)}
    assert [rows[256, bits]["right"] for bits in (16, 4, 3)] == [True, True, False]
    assert rows[256, 4]["served"] < 3 * rows[256, 16]["served"] + 0.02
    assert rows[256, 3]["error"], "three bits are refused"
    assert len(table.read_text().splitlines()) == 4
