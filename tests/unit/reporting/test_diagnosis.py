"""The pages on why cells score as they do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import report_data
from browser import CHROMIUM, Tab, chromium
from handmade import KEY, MEASURED

from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.manifest import finish
from ptqbench.records import Diagnosis as Record
from ptqbench.reporting.diagnosis import TABLES, Diagnosis, addresses, ranked, read_diagnoses, summary
from ptqbench.reporting.diagnosis_page import comparison, page
from ptqbench.reporting.names import COMPARISON, diagnosis_pages

LINEARS = ("0.q<b>", "0.down", "1.q<b>", "1.down")


def diagnosis(method: str = "awq+gptq", factor: float = 1.0) -> Diagnosis:
    layers = [
        {
            "linear": name,
            "site": "s",
            "proxy_loss": factor * (index + 1),
            "nearest_proxy_loss": 10.0,
            "snr_db": 20.0 - index,
            "bits": 2,
            "code_entropy": 1.5,
            "levels_used": 0.9,
            "edge_share": 0.25,
            "tokens": 100,
            "condition": math.inf if index else 7.0,
            "effective_rank": 3.0,
            "channels": 8,
            "input_kurtosis": 3.5,
        }
        for index, name in enumerate(LINEARS)
    ]
    tails = {"weight_reach": 2.0, "input_outliers": 3, "input_largest": 9.0}
    transforms = [
        {"linear": name, "stage": stage, "weight_kurtosis": kurtosis, **tails}
        for stage, kurtosis in (("none", 3.0), ("salience", 6.0))
        for name in LINEARS
    ]
    growth = [{"blocks": 0, "kl": 0.0}, {"blocks": 1, "kl": 0.4 * factor}, {"blocks": 2, "kl": 1.0 * factor}]
    restored = [{"block": 0, "kl": 0.8 * factor}, {"block": 1, "kl": 0.3 * factor}]
    cell = Cell(report_data.MODELS[1], "c", method, "w2")
    return Diagnosis(cell, *(pl.DataFrame(rows) for rows in (layers, transforms, growth, restored)))


def test_sentences_say_what_the_tables_do() -> None:
    said = "\n".join(summary(diagnosis()))
    assert "1 nats per token" in said
    assert "block 1 (70 %), block 0 (20 %)" in said
    assert "1.down (40 %), 1.q<b> (30 %), 0.down (20 %)" in said
    assert "1.down (17.0 dB)" in said
    assert "0.25 of that of plain nearest rounding" in said
    assert "1.50 of 2 bits on average; 25 % lie at the ends" in said
    assert "Up to salience, on average over linears: weight kurtosis 3 → 6" in said


def test_blocks_are_ranked_by_what_they_give_back() -> None:
    assert ranked(diagnosis()).select("block", "share").rows() == [(1, pytest.approx(0.7)), (0, pytest.approx(0.2))]


def test_what_the_stage_wrote_is_read_and_another_configuration_refused(tmp_path: Path) -> None:
    one, cell = diagnosis(), ["m", "c", "awq", "w2"]
    folder = tmp_path / "diagnosis" / "/".join(cell)
    folder.mkdir(parents=True)
    for name in TABLES:
        getattr(one, name).write_parquet(folder / f"{name}.parquet")
    finish(
        folder / "manifest.json",
        Record,
        {**KEY, "spec": {"a": 1}},
        [folder / f"{name}.parquet" for name in TABLES],
        **MEASURED,
    )
    (found,) = read_diagnoses([{"cell": cell, "spec": {"a": 1}}], tmp_path)
    assert found.cell == tuple(cell)
    assert found.layers.equals(one.layers)
    with pytest.raises(UserError, match="another configuration"):
        read_diagnoses([{"cell": cell, "spec": {"a": 2}}], tmp_path)


def test_the_workflow_knows_the_pages() -> None:
    both = [diagnosis(), diagnosis("gptq")]
    assert diagnosis_pages([one.cell for one in both])[:2] == list(addresses(both).values())
    assert diagnosis_pages([]) == []


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this host")
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose two diagnosed cells have pages."""
    folder, both = tmp_path_factory.mktemp("report"), [diagnosis(), diagnosis("gptq", 2.0)]
    report_data.write_report(folder, addresses(both))
    (folder / "diagnosis").mkdir()
    for one in both:
        (folder / addresses(both)[one.cell]).write_text(page(one))
    (folder / "diagnosis" / COMPARISON).write_text(comparison(both))
    return folder


def test_the_page_of_a_cell_in_a_browser(tab: Tab, pages: Path) -> None:
    tab.open(pages / addresses([diagnosis()])[diagnosis().cell])
    assert tab.problems() == []
    assert tab.run("window.broken") is None
    assert tab.run("document.querySelectorAll('figure svg').length") == 2
    assert tab.run("document.querySelector('h1').textContent").endswith(f"{report_data.MODELS[1]} scores as it does")
    tab.run("document.querySelectorAll('#layers thead th')[3].click()")
    first = "document.querySelector('#layers tbody tr').children[0].textContent"
    assert tab.run(first) == "1.down", "the noisiest linear comes first"
    tab.events.clear()
    tab.run("document.querySelector('a').click()")
    tab.wait()
    assert tab.run("document.title") == "ptqbench report"
    assert tab.run("document.querySelector('details[open] a.diagnosis') !== null"), (
        "back to the cell that one came from"
    )


def test_two_cells_compared_in_a_browser(tab: Tab, pages: Path) -> None:
    tab.open(pages / "diagnosis" / COMPARISON)
    assert tab.problems() == []
    row = "[...document.querySelectorAll('#blocks tbody tr')[1].children].map(one => one.textContent)"
    assert tab.run(row) == ["block 1", "1", "2", "1", "0.7", "0.7", "0"]
    choose = "p = document.getElementById('b'); p.value = {}; p.dispatchEvent(new Event('change'))"
    tab.run(choose.format(json.dumps("/".join(diagnosis().cell))))
    assert tab.run(row) == ["block 1", "1", "1", "0", "0.7", "0.7", "0"]
    assert tab.run("document.querySelectorAll('#linears tbody tr').length") == len(LINEARS)
