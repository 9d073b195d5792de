"""A plan serves no cell otherwise than it says, and says so before any work."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from clone import config

from ptqbench.errors import UserError
from ptqbench.serving_checks import check_serving


def made(**changes: Any) -> dict[str, Any]:
    """The small config with other schemes, suites, methods or backend."""
    found = config()
    for key, value in changes.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    return found


def check(given: dict[str, Any], method: str, scheme: str, suite: str, model_type: str | None = None) -> None:
    before = copy.deepcopy(given)
    check_serving(given, ("tiny", "text", method, scheme), suite, model_type)
    assert given == before


SMOOTH = {"smooth": {"transform": "smooth", "activations": "int8"}}
SPEED = {"speed": {"kind": "throughput"}}
ONLINE = {"online": {"transform": [{"rotation": "hadamard"}, {"rotation": "online"}]}}


@pytest.mark.parametrize(
    ("given", "method", "scheme", "suite", "words"),
    [
        (
            made(schemes={"s": {"bits": 2, "group_size": 32, "format": "awq"}}, backend="vllm-cuda"),
            "rtn",
            "s",
            "perplexity",
            "config: schemes.s with method 'rtn': backend 'vllm-cuda' does not serve format 'awq' at that width and "
            "granularity: use auto, dense",
        ),
        (
            made(schemes={"s": {"bits": 4, "group_size": 32, "format": "gptq"}}, backend="transformers"),
            "rtn",
            "s",
            "perplexity",
            "does not serve format 'gptq' at that width and granularity: use auto, compressed_tensors, dense",
        ),
        (
            made(methods=SMOOTH, backend="vllm-cuda"),
            "smooth",
            "w4g32",
            "perplexity",
            "does not serve its int8 activations at that width and granularity: use another scheme or backend",
        ),
        (
            made(suites=SPEED, backend="transformers"),
            "rtn",
            "w4g32",
            "speed",
            "config: suites.speed.kind is 'throughput', which backend 'transformers' does not measure: set backend",
        ),
        (
            made(
                suites={"twin": {"kind": "perplexity", "corpora": {}, "backend": "transformers"}},
                schemes={"s": {"bits": 2, "group_size": 32, "symmetric": True, "format": "gptq"}},
                backend="vllm-cuda",
            ),
            "rtn",
            "s",
            "twin",
            "config: schemes.s with method 'rtn' is exported as gptq for backend 'vllm-cuda', which backend "
            "'transformers' of suite 'twin' does not read: give the scheme a format, one of compressed_tensors, dense",
        ),
    ],
)
def test_what_cannot_be_served(given: dict[str, Any], method: str, scheme: str, suite: str, words: str) -> None:
    with pytest.raises(UserError) as raised:
        check(given, method, scheme, suite)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("gpus", "backend"), [(1, "vllm-cuda"), (2, "vllm-cuda"), (2, "transformers")])
def test_transforms_at_run_time_are_not_for_several_gpus(gpus: int, backend: str) -> None:
    given = made(methods=ONLINE, backend=backend)
    given["models"] = {"tiny": {**given["models"]["tiny"], "gpus": gpus}}
    if gpus == 1 or backend == "transformers":
        check(given, "online", "w4g32", "perplexity", "llama")
        return
    with pytest.raises(UserError, match=r"models\.tiny\.gpus is 2, and method 'online' transforms inputs at run time"):
        check(given, "online", "w4g32", "perplexity", "llama")


@pytest.mark.parametrize("backend", ["vllm-cuda", "vllm-cpu", "transformers"])
def test_what_can_be_served(backend: str) -> None:
    schemes = {f"s{bits}": {"bits": bits, "group_size": 32} for bits in range(2, 9)} | {
        "w8": {"bits": 8, "symmetric": True}
    }
    given = made(schemes=schemes, methods=SMOOTH, backend=backend)
    for scheme in schemes:
        check(given, "gptq", scheme, "perplexity", "llama")
    check(given, "smooth", "w8", "perplexity", "llama")
    check_serving(given, ("tiny", "none", "float", "float"), "perplexity", "llama")


def test_a_suite_of_another_backend_reads_dense_twins() -> None:
    twin = {"twin": {"kind": "perplexity", "corpora": {}, "backend": "transformers"}}
    schemes = {"s": {"bits": 2, "group_size": 32, "format": "dense"}, "w4": {"bits": 4, "group_size": 32}}
    given = made(suites=twin, schemes=schemes, backend="vllm-cuda")
    check(given, "rtn", "s", "twin", "llama")
    check(given, "rtn", "w4", "twin", "llama")


def test_the_architecture_decides_as_far_as_it_is_known() -> None:
    given = made(schemes={"s": {"bits": 4, "group_size": 32, "format": "gptq"}}, backend="vllm-cpu")
    given["schemes"]["s"]["symmetric"] = True
    check(given, "rtn", "s", "perplexity", None)
    with pytest.raises(UserError, match=r"schemes\.s with method 'rtn': format 'gptq' serves no 'mamba' model"):
        check(given, "rtn", "s", "perplexity", "mamba")
