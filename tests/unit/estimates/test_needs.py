"""What jobs take, by sizes: in proportion to what is asked, and of the order of what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptqbench.drafts import known_methods
from ptqbench.estimates.needs import (
    CPU,
    GPU,
    TORCH,
    Host,
    Need,
    Shown,
    codes,
    evaluate,
    export,
    packed,
    passes,
    quantize,
    statistics,
)
from ptqbench.estimates.sizes import SiteSize, Size, size_of
from ptqbench.normalize import normalize
from ptqbench.recipe import Recipe

POCKET = size_of(Path(__file__).parents[3] / "resources/models/pocket-llama", "")
W4: dict[str, Any] = {"bits": 4, "group_size": 128, "symmetric": False}
GIB = 2**30


def llama(blocks: int) -> Size:
    """Llama-3-8B with so many blocks."""
    block = (
        SiteSize(4096, ((4096, 4096), (1024, 4096), (1024, 4096))),
        SiteSize(4096, ((4096, 4096),)),
        SiteSize(4096, ((14336, 4096), (14336, 4096))),
        SiteSize(14336, ((4096, 14336),)),
    )
    inside, outside = 218_112_000, 2 * 128256 * 4096 + 4096
    parameters = blocks * inside + outside
    shape = (2 * parameters, 10**7, 2, parameters, outside, (block,) * blocks, inside, 4096, 128256, 8192, False)
    return Size(*shape, largest_file=2 * inside)


def recipe(name: str) -> Recipe:
    return normalize(name, known_methods()[name])


def test_sizes_are_those_of_the_files() -> None:
    folder = Path(__file__).parents[3] / "resources/models/pocket-llama"
    assert POCKET.file_bytes == (folder / "model.safetensors").stat().st_size
    assert POCKET.linears == 6 * 256 * (256 + 128 + 128 + 256 + 3 * 768)
    assert POCKET.widest == 768
    assert POCKET.block_hessians == 3 * 256**2 + 768**2
    assert POCKET.parameters == POCKET.outside + 6 * POCKET.block_elements
    assert POCKET.block_elements == POCKET.linears // 6 + 2 * 256


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packed_bytes_are_codes_scales_zeros_and_the_rest(bits: int) -> None:
    scheme = {**W4, "bits": bits}
    rest = POCKET.file_bytes - 2 * POCKET.linears + POCKET.other_bytes
    exact = POCKET.linears * (bits + (16 + bits) / 128) / 8 + rest
    assert packed(POCKET, scheme, "compressed_tensors") == pytest.approx(exact, rel=1e-3)
    without = exact - POCKET.linears * bits / 128 / 8
    assert packed(POCKET, {**scheme, "symmetric": True}, "compressed_tensors") == pytest.approx(without, rel=1e-3)
    assert packed(POCKET, scheme, "dense") == POCKET.file_bytes + POCKET.other_bytes


def test_a_rotation_stores_what_is_outside_the_blocks_and_unties_the_head() -> None:
    assert codes(POCKET, recipe("quarot+gptq"), W4) - codes(POCKET, recipe("gptq"), W4) == 4 * POCKET.outside
    head = POCKET.vocabulary * POCKET.hidden * POCKET.itemsize
    tied, untied = (export(POCKET, CPU, W4, "compressed_tensors", one).disk for one in (False, True))
    assert untied - tied == head


@pytest.mark.parametrize(
    ("size", "host", "method", "measured"),
    [
        (llama(32), GPU, "gptq", 10.5),
        (llama(32), GPU, "awq", 12.1),
        (llama(32), GPU, "omniquant", 548.0),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "gptq", 3.3),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "gptq-propagated", 50.9),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "gptaq", 175.4),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "autoround", 657.3),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "omniquant", 974.5),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "magr+gptq", 62.3),
        (POCKET, replace(CPU, rate=CPU.rate / 2), "spinquant", 28.2),
    ],
)
def test_default_times_are_of_the_order_of_those_in_the_benchmarks(
    size: Size, host: Host, method: str, measured: float
) -> None:
    shown = Shown(128, 2048 if host.gpu else 512)
    assert 1 / 3 < quantize(size, host, recipe(method), W4, shown).seconds(host) / measured < 3


def test_the_chain_of_a_large_model() -> None:
    """16 blocks of Llama-3-8B, as in benchmarks/results/chain.csv: seconds of jobs, and gigabytes."""
    size, shown = llama(16), Shown(128, 2048)
    assert 0.5 < statistics(size, GPU, shown).seconds(GPU) / 17.4 < 2
    assert 0.5 < quantize(size, GPU, recipe("gptq"), W4, shown).seconds(GPU) / 8.5 < 2
    assert 0.5 < export(size, GPU, W4, "compressed_tensors", False).seconds(GPU) / 3.6 < 3
    assert quantize(size, GPU, recipe("gptq"), W4, shown).gpu / GIB == pytest.approx(5.21, rel=0.1)
    made = [statistics(size, GPU, shown), quantize(size, GPU, recipe("gptq"), W4, shown)]
    made.append(export(size, GPU, W4, "compressed_tensors", False))
    outside = size.itemsize * size.outside * (1 - 8192 / 128256)  # that model had 8192 words
    assert (sum(need.disk for need in made) - outside) / GIB == pytest.approx(11.2, rel=0.1)


def test_memory_is_of_the_gpu_where_there_is_one() -> None:
    on_gpu, on_cpu = (quantize(llama(2), host, recipe("gptq"), W4, Shown(1, 2048)) for host in (GPU, CPU))
    assert on_gpu.host == TORCH + GPU.driver
    assert on_cpu.gpu == 0
    assert on_cpu.host - TORCH == pytest.approx(on_gpu.gpu)


def test_what_trains_takes_passes_and_what_does_not_takes_none() -> None:
    assert passes(recipe("rtn")) == passes(recipe("gptq")) == passes(recipe("awq")) == 0
    assert passes(recipe("autoround")) > passes(recipe("gptq-propagated")) > 0


def test_evaluating_grows_with_texts_windows_and_tasks() -> None:
    def work(**suite: Any) -> float:
        return evaluate(POCKET, CPU, suite, served=False).operations

    one = work(kind="perplexity", corpora={"a": "a"}, limit=16)
    assert work(kind="perplexity", corpora={"a": "a", "b": "b"}, limit=16) == 2 * one
    assert work(kind="perplexity", corpora={"a": "a"}, limit=64) == 4 * one
    assert work(kind="tasks", tasks=["a", "b"], limit=10) == 2 * work(kind="tasks", tasks=["a"], limit=10)
    assert math.isfinite(work(kind="throughput"))


def test_seconds_add_up() -> None:
    need = Need(start=2.0, operations=3e9, moved=4e9)
    assert need.seconds(Host(False, 1e9, 2e9, 0.0)) == 2 + 3 + 2


def test_the_disk_of_a_model_of_70b_is_what_the_documentation_says() -> None:
    block = (
        SiteSize(8192, ((8192, 8192), (1024, 8192), (1024, 8192))),
        SiteSize(8192, ((8192, 8192),)),
        SiteSize(8192, ((28672, 8192), (28672, 8192))),
        SiteSize(28672, ((8192, 28672),)),
    )
    inside, outside = 855_654_400, 2 * 128256 * 8192 + 8192
    parameters = 80 * inside + outside
    shape = (2 * parameters, 10**7, 2, parameters, outside, (block,) * 80, inside, 8192, 128256, 8192, False)
    size = Size(*shape, largest_file=2 * inside)
    text = (Path(__file__).parents[3] / "docs/paper.md").read_text(encoding="utf-8")
    found = {
        "own {} GB": size.file_bytes,
        "{} GB for one calibration set's statistics": statistics(size, GPU, Shown(128, 2048)).disk,
        "{} GB of codes": quantize(size, GPU, recipe("gptq"), W4, Shown(128, 2048)).disk,
        "{} GB of a checkpoint": export(size, GPU, W4, "compressed_tensors", False).disk,
    }
    for words, n_bytes in found.items():
        assert words.format(round(n_bytes / 1e9)) in text
