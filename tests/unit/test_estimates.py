"""What a run takes, by sizes: in proportion to what is asked, and of the order of what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptqbench.drafts import known_methods
from ptqbench.estimates import CPU, GPU, Need, Size, needs, packed_bytes, passes, size_of
from ptqbench.recipe import normalize

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "resources/models/pocket-llama"
SITES = 3 * 4096**2 + 14336**2
LLAMA_8B = Size(int(16.1e9), 6_979_321_856, 218_103_808, 32 * SITES, 14336**2)


def recipe(name: str) -> dict:
    return normalize(name, known_methods()[name])


def by_rule(size: Size, names: list[str], bits: tuple[int, ...] = (4,), device: float = GPU) -> dict[str, Need]:
    tokens = 128 * 2048 if size is LLAMA_8B else 128 * 512
    return {need.rule: need for need in needs(size, [recipe(name) for name in names], bits, 128, tokens, device)}


def test_sizes_are_those_of_the_files() -> None:
    size = size_of(POCKET, "")
    assert size.file_bytes == (POCKET / "model.safetensors").stat().st_size
    assert size.linears == 6 * 256 * (256 + 128 + 128 + 256 + 3 * 768)
    assert size.block * 6 == size.linears
    assert size.hessians == 6 * (3 * 256**2 + 768**2)
    assert size.largest_hessian == 768**2


def test_jobs_are_the_cells_and_the_float_model() -> None:
    jobs = {rule: need.jobs for rule, need in by_rule(LLAMA_8B, ["gptq", "awq"], (2, 3, 4)).items()}
    assert jobs == {"statistics": 1, "quantize": 6, "export": 6, "evaluate": 7}


def test_packed_bytes_are_codes_scales_zeros_and_the_rest() -> None:
    size = size_of(POCKET, "")
    rest = size.file_bytes - 2 * size.linears
    assert packed_bytes(size, 4, 128) == pytest.approx(size.linears * (4 + 20 / 128) / 8 + rest)
    assert packed_bytes(size, 8, -1) == pytest.approx(size.linears + rest)


@pytest.mark.parametrize(
    ("size", "device", "method", "measured"),
    [
        (LLAMA_8B, GPU, "gptq", 4.5),
        (LLAMA_8B, GPU, "awq", 6.1),
        (LLAMA_8B, GPU, "omniquant", 548.0),
        (size_of(POCKET, ""), CPU / 2, "gptq", 3.3),
        (size_of(POCKET, ""), CPU / 2, "gptq-propagated", 50.9),
        (size_of(POCKET, ""), CPU / 2, "gptaq", 175.4),
        (size_of(POCKET, ""), CPU / 2, "autoround", 657.3),
        (size_of(POCKET, ""), CPU / 2, "omniquant", 974.5),
        (size_of(POCKET, ""), CPU / 2, "magr+gptq", 62.3),
        (size_of(POCKET, ""), CPU / 2, "spinquant", 28.2),
    ],
)
def test_times_are_of_the_order_of_those_in_the_benchmarks(
    size: Size, device: float, method: str, measured: float
) -> None:
    assert 1 / 3 < by_rule(size, [method], device=device)["quantize"].seconds / measured < 3


def test_what_trains_takes_passes_and_what_does_not_takes_none() -> None:
    assert passes(recipe("rtn")) == passes(recipe("gptq")) == passes(recipe("awq")) == 0
    assert passes(recipe("autoround")) > passes(recipe("gptq-propagated")) > 0
