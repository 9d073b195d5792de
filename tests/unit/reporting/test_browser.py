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


@pytest.fixture(scope="module")
def opened(browser: Tab, report: Path) -> Tab:
    browser.resize(1280, 900)
    browser.open(report)
    return browser


@pytest.fixture
def tab(opened: Tab, report: Path) -> Tab:
    """The one page, as it was opened: what the last test set is taken back."""
    if opened.run("document.title") != "ptqbench report":
        opened.open(report)
    opened.resize(1280, 900)
    opened.run("form.reset(); new Promise(done => setTimeout(done, 5))")
    return opened


def fill(tab: Tab, **values: str) -> None:
    """Set filters as a reader does."""
    for name, value in values.items():
        tab.run(f"form.elements[{json.dumps(name)}].value = {json.dumps(value)}")
    tab.run("form.dispatchEvent(new Event('input'))")


def seen(tab: Tab, what: str, attribute: str = "textContent") -> list[str]:
    """An attribute of what is not hidden of a selector."""
    script = "one.checkVisibility() && !one.closest('.out, .out-column, [hidden]')"
    return tab.run(
        f"[...document.querySelectorAll({json.dumps(what)})].filter(one => {script}).map(one => one.{attribute})"
    )


def column(tab: Tab, table: str, number: int) -> list[str]:
    script = f"[...document.querySelector('#{table} tbody').rows].map(row => row.children[{number}].textContent.trim())"
    return tab.run(script)


def test_it_opens_without_network_and_without_errors(opened: Tab, report: Path) -> None:
    assert opened.problems() == []
    assert [url for url in opened.requests() if not url.startswith("data:")] == [report.as_uri()]
    assert opened.run("document.title") == "ptqbench report"
    assert opened.run("window.broken") is None, "a model's name was run as a script"
    assert opened.run("document.querySelectorAll('svg.chart').length") == 2 * 2 * 3, (
        "wide and narrow, KL and two scores"
    )


def test_the_script_writes_what_the_page_said_before_it_ran(opened: Tab, report: Path) -> None:
    """A reader without scripts sees the same answers."""
    tidy = "text => text.replace(/\\s+/g, ' ').trim()"
    parsed = f"new DOMParser().parseFromString({json.dumps(report.read_text())}, 'text/html')"
    for what in ("#summary td", ".answer p, .answer li, .answer pre", "[id^=limits] td", "#command"):
        texts = f"[...(PAGE).querySelectorAll('{what}')].map(one => ({tidy})(one.textContent))"
        before, after = (opened.run(texts.replace("PAGE", page)) for page in (parsed, "document"))
        assert before == after
        assert before


def test_a_click_on_a_head_sorts_and_another_turns_it(tab: Tab) -> None:
    sizes = [float(text) for text in column(tab, "costs-plain", 3)]
    assert sizes != sorted(sizes)
    click = "document.querySelectorAll('#costs-plain thead th')[3].click()"
    tab.run(click)
    assert [float(text) for text in column(tab, "costs-plain", 3)] == sorted(sizes)
    assert tab.run("document.querySelectorAll('#costs-plain thead th')[3].getAttribute('aria-sort')") == "ascending"
    tab.run(click)
    assert [float(text) for text in column(tab, "costs-plain", 3)] == sorted(sizes, reverse=True)
    tab.run("document.querySelectorAll('#costs-plain thead th')[6].click()")
    seconds = column(tab, "costs-plain", 6)
    assert seconds[-1] == "", "what is missing comes last"
    assert [float(text) for text in seconds[:-1]] == sorted(float(text) for text in seconds[:-1])
    tab.run("document.querySelectorAll('#costs-plain thead th')[0].click()")
    assert column(tab, "costs-plain", 0) == sorted(column(tab, "costs-plain", 0))
    units = tab.run("['512 MB', '2 GB', '7 B', '500 M', '\u2265 0.5 \u00b1 0.1'].map(number)")
    assert units == [512e6, 2e9, 7e9, 500e6, 0.5]


def test_the_filters_filter_everything(tab: Tab) -> None:
    tab.run("document.querySelectorAll('section > details').forEach(one => one.open = true)")
    fill(tab, model="plain", method="gptq", bits="3")
    assert seen(tab, "#summary tbody tr", "dataset.model") == ["plain"]
    assert seen(tab, "section[data-model]", "dataset.model") == ["plain"]
    assert tab.run("document.getElementById('shown').textContent") == "1 of 18 cells"
    marks = set(seen(tab, "svg.chart a[data-at]", "href.baseVal"))
    assert len(marks) == 2, "the cell and the unquantized model"
    heads = seen(tab, "#quality-plain-ppl-20-wiki-40-64-20--28-text-29- thead th")
    assert [head.strip() for head in heads] == ["method", "w3"]
    assert seen(tab, "#costs-plain tbody tr td:first-child a") == ["float float", "gptq w3"]
    assert seen(tab, "details.cell", "dataset.of") == ["float float", "gptq w3", "gptq w3"], "another seed's follows"
    line = tab.run("document.querySelector('svg.chart:not(.narrow) .frontier').getAttribute('points')")
    assert len(line.split()) == 2
    tab.run("document.querySelectorAll('section > details').forEach(one => one.open = false)")
    assert tab.problems() == []


def test_what_does_not_hold_is_left_out(tab: Tab) -> None:
    fill(tab, model="plain", memory="3.5MB", task="ppl wiki@64 (text)")
    assert len(set(seen(tab, "svg.chart a[data-at]", "href.baseVal"))) == 6, (
        "two and three bits, but the one that is dense"
    )
    fill(tab, max_drop="5%")
    assert [one.rsplit("_", 2)[1:] for one in set(seen(tab, "svg.chart a[data-at]", "href.baseVal"))].count(
        ["awq~2b~gptq", "w3"]
    )
    assert seen(tab, "#summary tbody td:nth-child(2) a") == ["awq+gptq w3"]
    assert seen(tab, ".answer .deploy a") == ["plain/c/awq+gptq/w3"]
    fill(tab, method="rtn", memory="", max_drop="")
    limits = column(tab, "limits-plain", 1)
    assert set(limits) == {"keep the unquantized model", "rtn w4", "rtn w3"}


def test_the_command_follows_the_form(tab: Tab) -> None:
    line = "document.getElementById('command').textContent"
    fill(tab, model="plain", method="gptq", memory="24GB", max_drop="1.5%", task="ppl wiki@64 (text)", prefer="speed")
    assert tab.run(line) == (
        "ptqbench recommend --model plain --method gptq --memory 24GB "
        "--task 'ppl wiki@64 (text)' --max-drop 1.5% --prefer speed"
    )


def test_the_address_keeps_the_filters_and_brings_them_back(browser: Tab, report: Path, tab: Tab) -> None:
    fill(tab, model=report_data.MODELS[1], bits="4", max_drop="30%")
    kept = tab.run("location.hash")
    cell = tab.run("document.querySelector('#summary tbody tr:not([hidden]) td:nth-child(2) a').hash")
    tab.run("document.querySelector('#summary tbody tr:not([hidden]) td:nth-child(2) a').click()")
    tab.run("new Promise(done => setTimeout(done, 50))")
    assert tab.run(f"document.getElementById({json.dumps(cell[1:])}).checkVisibility()"), "its fold is open"
    followed = tab.run("location.hash")
    assert followed.startswith(f"{kept}&at=cell-")
    browser.open(report, followed)
    assert browser.run("[form.elements.model.value, form.elements.bits.value, form.elements.max_drop.value]") == [
        report_data.MODELS[1],
        "4",
        "30%",
    ]
    assert seen(browser, "#summary tbody tr", "dataset.model") == [report_data.MODELS[1]]
    assert browser.run(f"document.getElementById({json.dumps(cell[1:])}).classList.contains('here')")


def test_the_form_stays_in_view(tab: Tab) -> None:
    tab.run("scrollTo(0, 1500)")
    assert tab.run("form.getBoundingClientRect().top") == 0
    tab.run("scrollTo(0, 0)")


def test_a_mark_says_what_it_is_and_leads_to_its_cell(tab: Tab) -> None:
    mark = "document.querySelector('svg.chart:not(.narrow) a[data-at]')"
    tab.run(f"{mark}.dispatchEvent(new PointerEvent('pointerenter'))")
    tip = tab.run("document.getElementById('tip').textContent")
    assert "MB" in tip
    assert "nats" in tip
    tab.run(f"{mark}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    tab.run("new Promise(done => setTimeout(done, 50))")
    assert tab.run("document.getElementById('tip').hidden")
    assert tab.run(f"document.getElementById({mark}.href.baseVal.slice(1)).checkVisibility()")


def test_tables_are_copied_as_they_are_shown(tab: Tab) -> None:
    fill(tab, model="plain", bits="2")
    tab.run("document.querySelectorAll('section > details').forEach(one => one.open = true)")
    box = "document.getElementById('quality-plain-ppl-20-wiki-40-64-20--28-text-29-').closest('.wide')"
    for name in ("Markdown", "LaTeX"):
        tab.run(f"[...{box}.nextSibling.querySelectorAll('button')].find(one => one.textContent === '{name}').click()")
        text = tab.run(f"{box}.nextSibling.querySelector('textarea').value")
        lines = text.splitlines()
        if name == "Markdown":
            assert lines[:2] == ["| method | w2 |", "| --- | --- |"]
            assert len(lines) == 5
            assert " ± " in lines[2]
        else:
            assert lines[0] == "% plain, Methods by bits, ppl wiki@64 (text); needs booktabs"
            assert lines[1] == r"\begin{tabular}{lr}"
            assert text.count(r" \\") == 4
            assert text.count(r"$\pm$") == 3
            assert text.count(r"\textbf{") == 1
    tab.run("document.querySelectorAll('section > details').forEach(one => one.open = false)")
    assert tab.run("escaped('50 % & a_b < c')") == r"50 \% \& a\_b \textless{} c"


def test_a_link_opens_the_cell_and_the_cell_its_diagnosis(tab: Tab) -> None:
    name = anchor(report_data.keys()[1])
    entry = f"document.getElementById({json.dumps(name)})"
    assert not tab.run(f"{entry}.open")
    tab.run(f"document.querySelector('td a[href=\"#{name}\"]').click()")
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


def test_it_prints_its_tables(tab: Tab) -> None:
    folds = "[...document.querySelectorAll('section > details')].filter(one => one.open).length"
    tab.run(
        "document.querySelectorAll('details').forEach(one => one.open = false); dispatchEvent(new Event('beforeprint'))"
    )
    assert tab.run(folds) == tab.run("document.querySelectorAll('section > details').length")
    assert tab.run("document.querySelectorAll('details.cell[open]').length") == 0, "what made a cell is for the screen"
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run("form.offsetParent") is None
    assert not seen(tab, ".copy")
    assert len(seen(tab, "svg.chart.narrow", "tagName")) == 0
    tab.call("Emulation.setEmulatedMedia", media="")
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.run(folds) == 0
    printed = tab.pdf()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type/Page") > 1


@pytest.mark.parametrize("width", [360, 500, 1280])
def test_nothing_is_wider_than_the_screen(tab: Tab, width: int) -> None:
    tab.resize(width, 800)
    assert tab.run("document.documentElement.scrollWidth") <= width
    narrow = seen(tab, "figure > svg.chart.narrow", "tagName")
    assert bool(narrow) == (width < 640)


def test_a_table_on_a_phone_says_that_it_goes_on(tab: Tab) -> None:
    tab.resize(390, 800)
    tab.run("new Promise(done => setTimeout(done, 50))")
    box = "document.querySelector('#summary').closest('.wide')"
    assert tab.run(f"{box}.classList.contains('more')")
    assert "more columns" in tab.run(f"getComputedStyle({box}.nextSibling, '::before').content")
    tab.run(f"{box}.scrollLeft = 5000; new Promise(done => setTimeout(done, 50))")
    assert not tab.run(f"{box}.classList.contains('more')")
    tab.run(f"{box}.scrollLeft = 0")
    tab.run("document.querySelectorAll('section > details').forEach(one => one.open = true)")
    tab.run("new Promise(done => setTimeout(done, 50))")
    costs = "document.getElementById('costs-plain').closest('.wide').classList.contains('more')"
    assert tab.run(costs), "a table in a fold too"
    tab.run("document.querySelectorAll('section > details').forEach(one => one.open = false)")


def test_the_colours_follow_the_reader(tab: Tab) -> None:
    colours = []
    for scheme in ("light", "dark"):
        tab.resize(1280, 900, scheme)
        colours.append(tab.run("getComputedStyle(document.body).backgroundColor"))
        ink = tab.run("getComputedStyle(document.querySelector('figure svg text')).fill")
        assert ink == tab.run("getComputedStyle(document.body).color")
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
    tables = report_data.tables(near=True)
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


def test_constraints_that_make_no_sense_are_said(tab: Tab) -> None:
    fill(tab, memory="24 horses")
    assert seen(tab, "#problem") == ['memory: "24 horses" is not understood']
    fill(tab, memory="1KB")
    assert seen(tab, "#problem") == []
    assert [text.startswith("None: its weights take") for text in seen(tab, ".answer .deploy")] == [True, True]
    assert seen(tab, "#summary td:nth-child(2)") == ["none", "none"]
