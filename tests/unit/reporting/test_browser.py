"""The page in a real browser, without network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_data
from browser import CHROMIUM, Tab, chromium

from ptqbench.reporting.answer import doubts
from ptqbench.reporting.names import anchor
from ptqbench.reporting.recommend import Constraints, candidates, recommend

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this host")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "why.html").write_text("<!doctype html><title>why</title>")
    return report_data.write_report(folder, {report_data.keys()[1]: "why.html"})


@pytest.fixture
def tab(browser: Tab, report: Path) -> Tab:
    browser.resize(1280, 900)
    browser.open(report)
    return browser


def column(tab: Tab, table: str, number: int) -> list[str]:
    script = f"[...document.querySelector('#{table} tbody').rows].map(row => row.children[{number}].textContent.trim())"
    return tab.run(script)


def test_it_opens_without_network_and_without_errors(tab: Tab, report: Path) -> None:
    assert tab.problems() == []
    assert [url for url in tab.requests() if not url.startswith("data:")] == [report.as_uri()]
    assert tab.run("document.title") == "ptqbench report"
    assert tab.run("window.broken") is None, "a model's name was run as a script"
    assert tab.run("document.querySelectorAll('figure svg').length") == 6
    assert tab.run("document.querySelectorAll('figure svg title').length") > 20


def test_a_click_on_a_head_sorts_and_another_turns_it(tab: Tab) -> None:
    sizes = [float(text) for text in column(tab, "costs", 3)]
    assert sizes != sorted(sizes)
    click = "document.querySelectorAll('#costs thead th')[3].click()"
    tab.run(click)
    assert [float(text) for text in column(tab, "costs", 3)] == sorted(sizes)
    assert tab.run("document.querySelectorAll('#costs thead th')[3].getAttribute('aria-sort')") == "ascending"
    tab.run(click)
    assert [float(text) for text in column(tab, "costs", 3)] == sorted(sizes, reverse=True)
    tab.run("document.querySelectorAll('#costs thead th')[1].click()")
    seconds = column(tab, "costs", 1)
    assert seconds[-2:] == ["", ""], "what is missing comes last"
    assert [float(text) for text in seconds[:-2]] == sorted(float(text) for text in seconds[:-2])
    tab.run("document.querySelectorAll('#costs thead th')[0].click()")
    names = [name for name in column(tab, "costs", 0) if name.startswith("plain")]
    assert names == sorted(names)


def test_the_filter_leaves_one_model(tab: Tab) -> None:
    shown = (
        "[...document.querySelectorAll('[data-model]')].filter(one => one.offsetParent).map(one => one.dataset.model)"
    )
    assert set(tab.run(shown)) == set(report_data.MODELS)
    choose = "f = document.getElementById('model-filter'); f.value = {}; f.dispatchEvent(new Event('change'))"
    tab.run(choose.format(json.dumps(report_data.MODELS[1])))
    assert set(tab.run(shown)) == {report_data.MODELS[1]}
    assert tab.run("document.querySelector('#recommended a').textContent").startswith(report_data.MODELS[1])
    assert tab.run("document.querySelectorAll('#recommended .deploy').length") == 1
    tab.run(choose.format("''"))
    assert set(tab.run(shown)) == set(report_data.MODELS)
    assert tab.problems() == []


def test_a_link_opens_the_cell_and_the_cell_its_diagnosis(tab: Tab) -> None:
    name = anchor(report_data.keys()[1])
    entry = f"document.getElementById({json.dumps(name)})"
    assert not tab.run(f"{entry}.open")
    tab.run(f"document.querySelector('#tables ~ section a[href=\"#{name}\"]').click()")
    tab.run("new Promise(done => setTimeout(done, 50))")
    assert tab.run(f"{entry}.open")
    assert "snakemake --cores all" in tab.run(f"{entry}.textContent")
    tab.events.clear()
    tab.run(f"{entry}.querySelector('a.diagnosis').click()")
    tab.wait()
    assert tab.run("document.title") == "why"


def test_an_address_with_a_cell_opens_it(browser: Tab, report: Path) -> None:
    name = anchor(report_data.keys()[2])
    browser.open(report, f"#{name}")
    assert browser.run(f"document.getElementById({json.dumps(name)}).open")


def test_it_prints_everything(tab: Tab) -> None:
    printed = tab.pdf()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type/Page") > 1
    assert tab.run("[...document.querySelectorAll('details')].every(one => one.open)")
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run("document.getElementById('recommend').offsetParent") is None
    tab.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("width", [360, 500, 1280])
def test_nothing_is_wider_than_the_screen(browser: Tab, report: Path, width: int) -> None:
    browser.resize(width, 800)
    browser.open(report)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_the_colours_follow_the_reader(browser: Tab, report: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        browser.resize(800, 800, scheme)
        browser.open(report)
        colours.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        ink = browser.run("getComputedStyle(document.querySelector('figure svg text')).fill")
        assert ink == browser.run("getComputedStyle(document.body).color")
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 22, 26)"]


def asked(number: int) -> dict[str, Any]:
    """Constraints of every kind, from the easy to the impossible."""
    return {
        "memory": [None, 2.05e6, 3.06e6, 5e6][number % 4],
        "max_drop": [None, 0.005, 0.05, 0.2, -0.5][number % 5],
        "tokens_per_second": [None, None, 42.0][number % 3],
        "prefer": ["quality", "size", "speed"][(number // 3) % 3],
        "scores": [["ppl wiki@64 (text)", "acc % qa<i>"], ["acc % qa<i>"], ["ppl wiki@64 (text)"]][(number // 5) % 3],
        "named": number % 7 > 2,
    }


def test_the_page_recommends_what_the_command_does(tab: Tab) -> None:
    """On the data of the page; ``test_script.py`` does it on random ones."""
    tables = report_data.tables()
    cells = candidates(tables["cells"], tables["scores"], tables["results"])
    stderrs = {row[:3]: row[3] for row in tables["pairs"].select("score", "a", "b", "stderr").rows()}
    answers = set()
    for number in range(100):
        wanted, model = asked(number), report_data.MODELS[number % 2]
        constraints = Constraints(**{**wanted, "scores": tuple(wanted["scores"])})
        found = recommend([cell for cell in cells if cell.model == model], constraints, stderrs)
        own = f"data.cells.filter(cell => cell.model === {json.dumps(model)})"
        script = f"recommend({own}, {json.dumps(wanted)}, data.stderrs)"
        page = tab.run(f"(found => ({{...found, satisfying: found.satisfying.map(cell => cell.id)}}))({script})")
        assert page["satisfying"] == [cell.id for cell in found.satisfying], wanted
        answers.add(page["satisfying"][0] if page["satisfying"] else None)
        if found.best is None:
            assert found.miss is not None
            assert page["miss"]["id"] == found.miss.id
        else:
            assert page["margin"] == (found.margin if found.margin is None else pytest.approx(found.margin, abs=1e-12))
            assert len(tab.run(f"doubts({script}, {json.dumps(wanted)})")) == len(doubts(found, constraints))
    assert len(answers) > 4
    assert None in answers


def test_every_model_has_an_answer(tab: Tab) -> None:
    tab.run("form.elements.memory.value = ''; form.dispatchEvent(new Event('input'))")
    heads = tab.run("[...document.querySelectorAll('#recommended h4')].map(one => one.textContent)")
    assert heads == list(report_data.MODELS)
    assert tab.run("document.querySelectorAll('#recommended .deploy').length") == 2


def test_constraints_that_make_no_sense_are_said(tab: Tab) -> None:
    tab.run("form.elements.memory.value = '24 horses'; form.dispatchEvent(new Event('input'))")
    assert tab.run("document.getElementById('recommended').textContent") == 'memory: "24 horses" is not understood'
    tab.run("form.elements.memory.value = '1KB'; form.dispatchEvent(new Event('input'))")
    assert tab.run("document.getElementById('recommended').textContent").count("None, because") == 2
