"""A recommendation in words hides nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ptqbench.reporting.answer import answer, size
from ptqbench.reporting.recommend import Candidate, Constraints, recommend

NAME = "ppl wiki"


def cell(name: str, quality: float, drop: float, *caveats: str) -> Candidate:
    drops = {NAME: (drop, drop + 0.004)}
    serve = f"vllm serve results/{name}"
    return Candidate(name, "m", 4_000_000, 50.0, {NAME: quality}, drops, caveats, serve)


def said(cells: list[Candidate], stderr: float = 0.1, **limits: Any) -> str:
    constraints = Constraints((NAME,), **limits)
    stderrs = {(NAME, a.id, b.id): stderr for a in cells for b in cells}
    return "\n".join(answer(recommend(cells, constraints, stderrs), constraints))


def test_the_best_its_lead_and_how_to_serve_it() -> None:
    text = said([cell("a", 1.0, 0.01), cell("b", 1.5, 0.02)], max_drop=0.05)
    assert "deploy  a\n" in text
    assert "4 MB, 50 tokens/s, ppl wiki: +1.00 % lost, at most 1.40 %" in text
    assert "serve   vllm serve results/a" in text
    assert "0.5 ± 0.1 bits per byte better than the next, b (significant)" in text
    assert "ranked by quality being ppl wiki" in text


def test_a_smaller_cell_that_is_worse_says_so() -> None:
    small = replace(cell("b", 1.5, 0.02), bytes=2_000_000)
    text = said([cell("a", 1.0, 0.01), small], max_drop=0.05, prefer="size")
    assert "deploy  b\n" in text
    assert "0.5 ± 0.1 bits per byte worse than the next, a (significant)" in text


def test_chance_is_named() -> None:
    assert "not significant" in said([cell("a", 1.0, 0.01), cell("b", 1.1, 0.01)])
    text = said([cell("a", 1.0, 0.01), replace(cell("b", 1.5, 0.0), bytes=5_000_000)], max_drop=0.012)
    assert "deploy  b" in text
    assert "a would be preferred if its measured loss were exact (4 MB" in text


def test_caveats_come_with_the_cell_and_the_best_without_any() -> None:
    text = said([cell("a", 1.0, 0.01, "3 layers fell back"), cell("b", 2.0, 0.01)])
    assert "sure?   3 layers fell back" in text
    assert "the best without such a caveat: b" in text


def test_none_because() -> None:
    text = said([cell("a", 1.0, 0.03)], memory=1000, max_drop=0.01, tokens_per_second=99)
    assert text.startswith("none, because every cell misses something; the nearest is a")
    assert "its weights take 4 MB, more than 1 kB" in text
    assert "it loses 3.00 % on ppl wiki and may lose 3.40 %, more than 1 %" in text
    assert "is 50 tokens/s, where 99 are asked" in text
    assert said([]).startswith("none, because no cell has the scores that count")


@pytest.mark.parametrize(("n", "text"), [(0, "0 B"), (999, "999 B"), (24e9, "24 GB"), (13.6e6, "13.6 MB")])
def test_sizes(n: float, text: str) -> None:
    assert size(n) == text


def test_what_was_left_out_is_named_and_a_float_model_is_called_one() -> None:
    lacking = [replace(cell(f"l{i}", 1.0, 0.01), drop={}, comparable={}) for i in range(5)]
    base = replace(cell("f", 1.0, 0.0), key=("m", "none", "float", "float"))
    text = said([*lacking, base, cell("q", 3.0, 0.2)])
    assert "deploy  f, the unquantized model\n        4 MB, 50 tokens/s\n" in text
    assert "left    l0 is not judged: it has no ppl wiki" in text
    assert "left    2 more cells are not judged" in text


def test_no_serve_line_for_what_vllm_does_not_serve() -> None:
    assert "serve   " not in said([replace(cell("a", 1.0, 0.01), serve="")])
