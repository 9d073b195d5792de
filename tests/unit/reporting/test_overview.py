"""The table of all models, and the banner."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import report_data

from ptqbench.reporting.choice import LIMITS
from ptqbench.reporting.markup import table
from ptqbench.reporting.overview import (
    banner,
    chosen_cells,
    count,
    demonstrations,
    kl_text,
    limits_table,
    summary_row,
    summary_table,
)
from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation, candidates

WANTED = Constraints(("ppl wiki@64 (text)",), prefer="size")


@pytest.fixture(scope="module")
def models() -> dict[str, list[Candidate]]:
    tables = report_data.tables(near=True)
    found: dict[str, list[Candidate]] = {}
    for cell in candidates(tables["cells"], tables["scores"], tables["results"]):
        found.setdefault(cell.model, []).append(cell)
    return found


@pytest.fixture(scope="module")
def stderrs() -> dict[tuple[str, str, str], float]:
    pairs = report_data.tables(near=True)["pairs"]
    return {row[:3]: row[3] for row in pairs.select("score", "a", "b", "stderr").rows()}


def heads(markup: str) -> list[str]:
    return re.findall(r"<th[^>]*>([^<]*)</th>", markup)


def test_columns_that_nothing_fills_are_not_there(
    models: dict[str, list[Candidate]], stderrs: dict[tuple[str, str, str], float]
) -> None:
    sizes, chosen = dict.fromkeys(models, 8_000_000), chosen_cells(models, WANTED, stderrs)
    whole = summary_table(models, sizes, chosen, "near")
    assert "KL, nats, near" in heads(whole)
    assert "tokens/s" in heads(whole)
    assert whole.count("<tr data-model=") == 2
    slow = {model: [replace(cell, tokens_per_second=None) for cell in own] for model, own in models.items()}
    bare = heads(summary_table(slow, sizes, chosen_cells(slow, WANTED, stderrs), ""))
    assert bare == [head for head in heads(whole) if head not in ("KL, nats, near", "tokens/s")]


def test_a_row_has_a_cell_for_each_column_whatever_was_found(models: dict[str, list[Candidate]]) -> None:
    cell = models["plain"][1]
    held = replace(WANTED, max_drop=0.05)
    for found in (Recommendation([]), Recommendation([cell], WANTED.scores), Recommendation([models["plain"][0]])):
        found.scores = WANTED.scores
        assert len(summary_row(held, found, speeds=True, kls=True)) == 8
        assert len(summary_row(held, found, speeds=False, kls=False)) == 6
        assert summary_row(held, found, speeds=False, kls=False)[3] == "5 %"


def test_the_limits_have_a_row_each(
    models: dict[str, list[Candidate]], stderrs: dict[tuple[str, str, str], float]
) -> None:
    made = limits_table(models["plain"], WANTED, stderrs, "plain")
    assert made.count("<tr>") == len(LIMITS)
    assert "keep the unquantized model" in made
    assert "awq+gptq w3" in made


def test_a_bound_is_told_from_a_divergence(models: dict[str, list[Candidate]]) -> None:
    texts = {cell.key[3]: kl_text(cell) for cell in models["plain"] if cell.key[2] in ("gptq", "float")}
    assert texts["w4"].startswith("≥ ")
    assert re.fullmatch(r"0\.\d+ ± 0\.\d+", texts["w3"])
    assert texts["float"] == ""


def test_embedded_models_are_demonstrations_wherever_the_checkout_is() -> None:
    folders = {"a": "resources/models/a", "b": "/x/resources/models/b", "c": "/data/c", "d": "myresources/models/d"}
    assert demonstrations(folders) == ["a", "b"]
    sizes = {"a": 6_819_072, "b": 2_299_008, "c": 7 * 10**9}
    assert "2 of the 3 models are small ones that come with ptqbench (2.3 M to 6.82 M parameters)" in banner(
        ["a", "b"], sizes
    )
    assert "c is a small one" in banner(["c"], sizes)
    assert banner([], sizes) == ""


@pytest.mark.parametrize(("n", "text"), [(0, "0"), (512, "512"), (6_819_072, "6.82 M"), (70_553_706_496, "70.6 B")])
def test_parameters_are_counted_as_people_do(n: int, text: str) -> None:
    assert count(n) == text


def test_a_filtered_table_says_so() -> None:
    assert table({"a": ["1"]}, "x", kind="filtered").startswith('<div class="wide filtered">')
    assert table({"a": ["1"]}, "y").startswith('<div class="wide">')
