"""A recommendation in words hides nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ptqbench.reporting.answer import answer, size
from ptqbench.reporting.recommend import Candidate, Constraints, recommend

NAME = "ppl wiki"


def cell(name: str, quality: float, drop: float, *caveats: str) -> Candidate:
    drops = {NAME: (drop, 0.004)}
    serve = f"vllm serve results/{name}"
    return Candidate(name, "m", 4_000_000, 50.0, {NAME: quality}, drops, (NAME,), caveats, serve)


def said(cells: list[Candidate], stderr: float = 0.1, **limits: Any) -> str:
    constraints = Constraints((NAME,), **limits)
    stderrs = {(NAME, a.id, b.id): stderr for a in cells for b in cells}
    return "\n".join(answer(recommend(cells, constraints, stderrs), constraints))


def test_the_best_its_lead_and_how_to_serve_it() -> None:
    text = said([cell("a", 1.0, 0.01), cell("b", 1.5, 0.02)], max_drop=0.05)
    assert "deploy  a\n" in text
    assert "4 MB, 50 tokens/s, ppl wiki: +1.00 % ± 0.40 lost" in text
    assert "serve   vllm serve results/a" in text
    assert "0.5 ± 0.1 bits per byte better than the next, b (significant)" in text
    assert "not sure" not in text


def test_a_smaller_cell_that_is_worse_says_so() -> None:
    small = replace(cell("b", 1.5, 0.02), bytes=2_000_000)
    text = said([cell("a", 1.0, 0.01), small], max_drop=0.05, prefer="size")
    assert "deploy  b\n" in text
    assert "0.5 ± 0.1 bits per byte worse than the next, a (significant)" in text


def test_chance_is_named() -> None:
    assert "not significant" in said([cell("a", 1.0, 0.01), cell("b", 1.1, 0.01)])
    assert "reaches beyond 1.2 %" in said([cell("a", 1.0, 0.01)], max_drop=0.012)


def test_caveats_come_with_the_cell_and_the_best_without_any() -> None:
    text = said([cell("a", 1.0, 0.01, "3 layers fell back"), cell("b", 2.0, 0.01)])
    assert "sure?   3 layers fell back" in text
    assert "the best without such a caveat: b" in text


def test_none_because() -> None:
    text = said([cell("a", 1.0, 0.03)], memory=1000, max_drop=0.01, tokens_per_second=99)
    assert text.startswith("none, because every cell misses something; the nearest is a")
    assert "its weights take 4 MB, more than 1 kB" in text
    assert "it loses 3.00 % on ppl wiki, more than 1 %" in text
    assert "is 50 tokens/s, where 99 are asked" in text
    assert said([]).startswith("none, because the report has no quantized cell")


@pytest.mark.parametrize(("n", "text"), [(0, "0 B"), (999, "999 B"), (24e9, "24 GB"), (13.6e6, "13.6 MB")])
def test_sizes(n: float, text: str) -> None:
    assert size(n) == text
