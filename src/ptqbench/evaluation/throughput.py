"""How fast a served checkpoint generates, and in how much memory; alone on its device."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

from ptqbench.progress import progress_bar

REQUIRED = ()
OPTIONAL = ("prompt_tokens", "output_tokens", "batches", "repeats")
BACKENDS = ("vllm-cuda", "vllm-cpu")
COMPILED = True
PROMPT_TOKENS, OUTPUT_TOKENS, BATCHES, REPEATS = 512, 128, (1, 64, 256), 3


def longest(suite: dict[str, Any], context: int) -> int:
    """Tokens of a prompt and its answer."""
    return suite.get("prompt_tokens", PROMPT_TOKENS) + suite.get("output_tokens", OUTPUT_TOKENS)


def run(backend: Any, suite: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows of :func:`measured`."""
    return list(measured(backend, suite))


def measured(backend: Any, suite: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows ``task, metric, value, stderr, n`` as they come: a task per batch size, and at last one for memory.

    At batch 1 ``tokens_per_second`` is the rate of decoding, from the difference between answers of all tokens and
    of one: a stream may deliver several tokens at once. ``first_token_seconds`` is when a stream's first token arrives.
    For larger batches the rate counts all tokens generated over the whole time, prompts included.
    """
    length, output = suite.get("prompt_tokens", PROMPT_TOKENS), suite.get("output_tokens", OUTPUT_TOKENS)
    batches, repeats = suite.get("batches", BATCHES), suite.get("repeats", REPEATS)
    prompts = Prompts(backend.config.get_text_config().vocab_size, length)
    with progress_bar("throughput: run", total=len(batches) * repeats) as bar:
        for batch in batches:
            generate(backend, prompts.take(batch), output)  # compiles, captures, warms up
            found: dict[str, list[float]] = {}
            for _ in range(repeats):
                for metric, value in measure(backend, prompts, batch, output).items():
                    found.setdefault(metric, []).append(value)
                bar(1, f"batch {batch}")
            yield from (summary(f"batch {batch}", metric, values) for metric, values in found.items())
    yield from (summary("memory", f"{name}_gib", [value / 2**30]) for name, value in backend.memory().items())


class Prompts:
    """Random token ids, different each time: nothing to find in a prefix cache."""

    def __init__(self, vocabulary: int, length: int) -> None:
        self.vocabulary, self.length = vocabulary, length
        self.random = random.Random(0)

    def take(self, n: int) -> list[list[int]]:
        """``n`` new prompts."""
        return [[self.random.randrange(self.vocabulary) for _ in range(self.length)] for _ in range(n)]


def measure(backend: Any, prompts: Prompts, batch: int, output: int) -> dict[str, float]:
    """The metrics of one batch of new prompts."""
    whole = generate(backend, prompts.take(batch), output)
    if batch > 1:
        return {"tokens_per_second": batch * output / whole}
    decoding = whole - generate(backend, prompts.take(1), 1)
    rate = (output - 1) / decoding if decoding > 0 else math.nan
    return {"tokens_per_second": rate, "first_token_seconds": first_token(backend, prompts.take(1)[0])}


def generate(backend: Any, prompts: list[list[int]], output: int) -> float:
    """Seconds until every prompt has its ``output`` tokens."""
    begun = time.perf_counter()
    backend.client.complete(prompts, max_tokens=output, ignore_eos=True)
    return time.perf_counter() - begun


def first_token(backend: Any, prompt: list[int]) -> float:
    """Seconds until a stream's first token arrives."""
    begun = time.perf_counter()
    chunks = backend.client.stream(prompt, max_tokens=2, ignore_eos=True)
    arrivals = [time.perf_counter() - begun for chunk in chunks if chunk["choices"]]
    return arrivals[0]


def summary(task: str, metric: str, values: list[float]) -> dict[str, Any]:
    """Mean and standard error of repeated measurements."""
    n = len(values)
    stderr = statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return {"task": task, "metric": metric, "value": statistics.fmean(values), "stderr": stderr, "n": n}
