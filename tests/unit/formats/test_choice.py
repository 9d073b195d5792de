"""The choice table is well-formed, says what was measured, and offers nothing that a format cannot hold."""

from __future__ import annotations

import importlib
from itertools import product

import pytest
import torch
from codes import quantized

from ptqbench.errors import UserError
from ptqbench.formats import choice
from ptqbench.formats.choice import candidates, choose, formats, served, table
from ptqbench.formats.layout import Layout
from ptqbench.members import members

CUDA, CPU, LOCAL = "vllm-cuda", "vllm-cpu", "transformers"
HUMMING = ["--quantization", "humming"]
LAYOUTS = [Layout(*one) for one in product(range(2, 9), (-1, 32, 128), (False, True))]


def first(backend: str, layout: Layout, asked: str = "auto") -> str | None:
    rows = candidates(backend, layout, asked)
    return choose(rows, asked, "llama")["format"] if rows else None


def test_rows_name_formats_and_known_conditions() -> None:
    made = {name for name, traits in members("formats").items() if "FORMAT" in traits}
    assert made == {"compressed_tensors", "gptq", "awq", "dense"}
    for rows in table().values():
        for row in rows:
            assert row["format"] in made
            conditions = set(row) - {"format", "flags", "kernel", "backend", "model_types", *choice.DECIDES}
            assert conditions <= set(choice.CONDITIONS)
            assert all(isinstance(row[name], list) for name in conditions)
            assert ("because" in row) is (row["format"] == "dense" or "backend" in row)
            assert ("zeros" in row) is (row["format"] == "gptq")
        assert set(rows[-1]) == {"format", "because"}


@pytest.mark.parametrize(
    ("backend", "layout", "expected"),
    [
        (CUDA, Layout(4, 128, True), "compressed_tensors"),
        (CUDA, Layout(4, 128, False), "compressed_tensors"),
        (CUDA, Layout(4, -1, False), "compressed_tensors"),
        (CUDA, Layout(8, 128, False), "compressed_tensors"),
        (CUDA, Layout(2, 128, True), "compressed_tensors"),
        (CUDA, Layout(3, -1, True), "compressed_tensors"),
        (CUDA, Layout(5, 128, True), "compressed_tensors"),
        (CUDA, Layout(2, 128, False), "dense"),
        (CUDA, Layout(3, 128, False), "dense"),
        (CUDA, Layout(2, -1, False), "dense"),
        (CUDA, Layout(3, -1, False), "dense"),
        (CUDA, Layout(5, 128, False), "dense"),
        (CUDA, Layout(8, 32, False), "dense"),
        (CUDA, Layout(8, -1, True, "int8"), "compressed_tensors"),
        (CUDA, Layout(4, 128, True, "int8"), None),
        (CPU, Layout(4, 128, True), "compressed_tensors"),
        (CPU, Layout(4, 16, False), "compressed_tensors"),
        (CPU, Layout(8, 128, True), "dense"),
        (CPU, Layout(3, 128, True), "dense"),
        (CPU, Layout(8, -1, True, "int8"), "compressed_tensors"),
        (CPU, Layout(8, -1, False, "int8"), None),
        (LOCAL, Layout(3, -1, False), "compressed_tensors"),
        (LOCAL, Layout(4, 128, False, "int8"), "compressed_tensors"),
        (CUDA, Layout(8, 128, False, widths=(4, 8)), "compressed_tensors"),
        (CUDA, Layout(4, 128, True, widths=(2, 3, 4)), "compressed_tensors"),
        (CUDA, Layout(4, 128, False, widths=(2, 3, 4)), "dense"),
        (CPU, Layout(8, 128, True, widths=(4, 8)), "dense"),
        (LOCAL, Layout(4, 128, False, widths=(2, 3, 4)), "compressed_tensors"),
        (CUDA, Layout(8, -1, True, "int8", widths=(4, 8)), None),
    ],
)
def test_what_is_chosen(backend: str, layout: Layout, expected: str | None) -> None:
    assert first(backend, layout) == expected


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout(2, 128, False), {"dense": []}),
        (Layout(3, 128, True), {"compressed_tensors": [], "gptq": HUMMING, "dense": []}),
        (Layout(4, 128, True), {"compressed_tensors": [], "gptq": [], "dense": []}),
        (Layout(4, 128, False), {"compressed_tensors": [], "awq": [], "dense": []}),
        (Layout(2, -1, False), {"dense": []}),
        (Layout(8, -1, True, "int8"), {"compressed_tensors": []}),
    ],
)
def test_what_a_gpu_serves_and_with_which_flags(layout: Layout, expected: dict[str, list[str]]) -> None:
    assert formats(CUDA, layout) == expected


def test_a_format_by_name() -> None:
    assert first(CUDA, Layout(4, 128, True), "gptq") == "gptq"
    assert candidates(CUDA, Layout(4, 128, True), "gptq")[-1]["zeros"] == "v1"
    assert first(CUDA, Layout(4, 128, False), "gptq") is None, "Humming reads zero-points wrong"
    assert first(CUDA, Layout(4, 128, True), "awq") is None
    assert first(LOCAL, Layout(4, 128, True), "gptq") is None


@pytest.mark.parametrize("backend", [CUDA, CPU, LOCAL])
def test_what_is_offered_can_be_held(backend: str) -> None:
    for layout in LAYOUTS:
        linear = quantized(32, 128, layout.bits, layout.group_size, layout.symmetric)
        for name in formats(backend, layout):
            row = candidates(backend, layout, name)[-1]
            stored = Layout(layout.bits, layout.group_size, layout.symmetric, zeros=row.get("zeros", "v2"))
            module = importlib.import_module(f"ptqbench.formats.{name}")
            assert module.refuses(linear, stored) is None, (backend, layout, name)
            assert module.tensors("q", linear, torch.bfloat16, stored)


def test_activations_are_never_dropped() -> None:
    for backend, layout in product(table(), LAYOUTS):
        quantized = Layout(layout.bits, layout.group_size, layout.symmetric, "int8")
        assert set(formats(backend, quantized)) <= {"compressed_tensors"}


def test_architectures_decide_where_it_is_exported() -> None:
    rows = candidates(CUDA, Layout(3, 128, True), "auto")
    assert choose(rows, "auto", "llama")["format"] == "compressed_tensors"
    experts = next(row for row in rows if "mixtral" in row.get("model_types", []))
    assert choose(rows, "auto", "mixtral") == {**experts, "format": "dense"}
    assert "Mamba" in choose(rows, "auto", "mamba")["because"]
    assert choose(candidates(CUDA, Layout(4, 128, True), "auto"), "auto", "mixtral")["format"] == "compressed_tensors"
    asked = candidates(CUDA, Layout(3, 128, True), "gptq")
    assert choose(asked, "gptq", "llama")["format"] == "gptq"
    with pytest.raises(UserError, match=r"format 'gptq' serves no 'mamba' model, .*: use auto or dense"):
        choose(asked, "gptq", "mamba")


@pytest.mark.parametrize(
    ("backend", "layout", "model", "expected"),
    [
        (CUDA, Layout(4, 128, False), "llava_llama", "transformers"),
        (CUDA, Layout(16, -1, True), "llava_llama", "transformers"),
        (CUDA, Layout(4, 128, False), "llava", CUDA),
        (CUDA, Layout(4, 128, False), "mamba", CUDA),
        (CUDA, Layout(8, -1, True, "int8"), "mamba", "transformers"),
        (CUDA, Layout(8, -1, True, "int8"), "llama", CUDA),
        (CUDA, Layout(4, 128, False), "deepseek", "transformers"),
        (CUDA, Layout(16, -1, True), "deepseek", "transformers"),
        ("vllm-cpu", Layout(8, -1, True, "int8"), "deepseek", "transformers"),
        ("vllm-cpu", Layout(4, 128, False), "mixtral", "vllm-cpu"),
        ("vllm-cpu", Layout(4, 128, False), "mamba", "transformers"),
        ("vllm-cpu", Layout(4, 128, False), "llava", "transformers"),
        ("vllm-cpu", Layout(4, 128, False), "llama", "vllm-cpu"),
        ("transformers", Layout(4, 128, False), "llava_llama", "transformers"),
    ],
    ids=str,
)
def test_a_backend_leaves_models_that_it_has_not_to_another(
    backend: str, layout: Layout, model: str, expected: str
) -> None:
    assert served(backend, layout, model)[0] == expected


def test_experts_with_zero_points_are_dense_on_a_cpu() -> None:
    for symmetric, expected in ((True, "compressed_tensors"), (False, "dense")):
        rows = candidates("vllm-cpu", Layout(4, 128, symmetric), "auto")
        assert choose(rows, "auto", "mixtral")["format"] == expected
        assert choose(rows, "auto", "llama")["format"] == "compressed_tensors"


@pytest.mark.parametrize(
    ("backend", "bits", "model", "expected"),
    [
        (CUDA, 4, "llama", ("compressed_tensors", "random-hadamard")),
        (CUDA, 3, "llama", ("dense", None)),  # Humming
        (CUDA, 4, "mixtral", ("dense", None)),
        (CUDA, 4, "llava", ("dense", None)),
        (CUDA, 4, "mamba", ("dense", None)),
        (CPU, 4, "llama", ("dense", None)),
        (LOCAL, 4, "llama", ("dense", None)),
    ],
)
def test_inputs_transformed_at_run_time(backend: str, bits: int, model: str, expected: tuple[str, str | None]) -> None:
    layout = Layout(bits, 128, True, online=True)
    row = choose(candidates(backend, layout, "auto"), "auto", model)
    assert (row["format"], row.get("transform")) == expected
    plain = candidates(backend, Layout(bits, 128, True), "auto")
    assert not any("transform" in row for row in plain), "what other cells are made from does not name it"
    assert not candidates(CUDA, layout, "gptq")


def test_transforms_at_run_time_go_with_int8_activations_where_they_are_computed() -> None:
    layout = Layout(8, -1, True, "int8", online=True)
    assert [first(backend, layout) for backend in (CUDA, CPU, LOCAL)] == [
        "compressed_tensors",
        None,
        "compressed_tensors",
    ]
    rows = candidates(LOCAL, layout, "auto")
    for model in ("mixtral", "deepseek", "llava_llama"):
        assert choose(rows, "auto", model)["format"] == "dense", "which then refuses the activations"
    assert served(CUDA, Layout(4, 128, True, online=True), "deepseek")[0] == LOCAL


def test_mixed_widths_are_packed_where_every_width_is_and_never_in_experts() -> None:
    layout = Layout(8, 128, True, widths=(4, 8))
    for name, expected in (("mixtral", "dense"), ("mamba", "dense"), ("llama", "compressed_tensors")):
        row = choose(candidates(CUDA, layout, "auto"), "auto", name)
        assert row["format"] == expected
        assert ("one width" in row.get("because", "")) is (name == "mixtral")
    assert choose(candidates(LOCAL, layout, "auto"), "auto", "mixtral")["format"] == "compressed_tensors"
    llava = candidates(CUDA, Layout(8, 128, False, widths=(3, 8)), "auto")
    assert choose(llava, "auto", "llava")["because"].startswith("the packed formats of that width")
    assert formats(CUDA, layout) == {"compressed_tensors": [], "dense": []}
    assert formats(CPU, layout) == {"dense": []}
    assert candidates(CUDA, layout, "gptq") == []
    with pytest.raises(UserError, match="one width"):
        choose(candidates(CUDA, layout, "compressed_tensors"), "compressed_tensors", "mixtral")


def test_dense_can_always_be_asked_for() -> None:
    for model in ("llava_llama", "mamba", "llama"):
        assert choose(candidates(CUDA, Layout(4, 128, False), "dense"), "dense", model)["format"] == "dense"
