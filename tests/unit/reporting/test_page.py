"""The page as markup; what it does in a browser is in ``test_browser.py``."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
import report_data

from ptqbench.reporting.markup import short
from ptqbench.reporting.names import anchor
from ptqbench.reporting.page import page
from ptqbench.reporting.quality import quality_table
from ptqbench.reporting.scores import scores_table
from ptqbench.reporting.taxonomy import taxonomy


class Outline(HTMLParser):
    """Tags, ids, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def written() -> str:
    return page(report_data.tables(), report_data.origins(), {report_data.keys()[1]: "cells/a b.html"})


def test_names_are_text(written: str) -> None:
    outline = Outline(written)
    assert outline.tags.count("script") == 2, "the data and the page's own script"
    assert not {"b", "i", "u", "s"} & set(outline.tags)
    assert report_data.MODELS[1] in "".join(outline.words)
    assert "no kernel<u>" in "".join(outline.words)


def test_every_link_leads_somewhere(written: str) -> None:
    outline = Outline(written)
    assert len(outline.ids) == len(set(outline.ids))
    inner = [link.removeprefix("#") for link in outline.links if link.startswith("#")]
    assert len(inner) > 50
    assert set(inner) <= set(outline.ids)
    assert [link for link in outline.links if not link.startswith("#")] == ["cells/a b.html"]


def test_nothing_is_fetched(written: str) -> None:
    without = written.replace("http://www.w3.org/", "")
    assert "http:" not in without
    assert "https:" not in without
    assert not re.search(r"<(img|iframe|link(?! rel=\"icon\" href=\"data:))", written)


def test_the_same_report_twice_is_the_same_page(written: str) -> None:
    again = page(report_data.tables(), report_data.origins(), {report_data.keys()[1]: "cells/a b.html"})
    assert again == written


def test_what_is_significant_is_marked_and_the_best_named(written: str) -> None:
    words = "".join(Outline(written).words)
    assert words.count("◆") > 2 * 3 * 2
    assert re.search(r"\+[\d.]+ ± [\d.]+\*", words)
    assert "Within 10 %: plain/c/awq+gptq/w4" in words
    assert "evaluated in transformers" in words


def test_models_of_one_family_are_compared_at_equal_bytes_and_others_across(written: str) -> None:
    assert "Models against each other" not in written, "it would be the same figure"
    words = "".join(Outline(written).words)
    assert "Sizes of one family: family<f>" in words
    assert "At equal bytes" in words
    tables = report_data.tables()
    own = tables["cells"].with_columns(family="model")
    apart = page({**tables, "cells": own}, report_data.origins(), {})
    assert "Sizes of one family" not in apart
    assert "Models against each other" in apart


def test_the_best_of_one_is_not_named(written: str) -> None:
    tables = report_data.tables()
    kept = tables["scores"].filter(pl.col("method").is_in(["float", "gptq"]))
    alone = quality_table(kept, tables["cells"], "plain", "ppl wiki@64 (text)", {})
    assert alone.count("<a ") == 3
    assert "◆" not in alone
    assert "◆" in written


def test_mixed_cells_have_columns_by_their_bits_per_weight() -> None:
    tables = report_data.tables()
    mixed = pl.col("scheme") == "w3"
    cells = tables["cells"].with_columns(bits=pl.when(mixed).then(None).otherwise("bits"))
    found = taxonomy(tables["scores"], cells, "plain", "ppl wiki@64 (text)")
    assert re.findall(r"<th[^>]*>([^<]*per channel)</th>", found) == [
        "2 bits, per channel",
        "mixed, 3.1 bits per weight, per channel",
        "4 bits, per channel",
    ]


def test_classes_are_compared_where_all_else_is_equal() -> None:
    """The best of several classes is marked within one range, propagation, width and granularity, and nowhere else."""
    tables = report_data.tables()
    methods = {"rtn": "minmax", "gptq": "minmax", "awq+gptq": "search"}
    cells = tables["cells"].with_columns(pl.col("method").replace(methods).alias("range"))
    found = taxonomy(tables["scores"], cells, "plain", "ppl wiki@64 (text)")
    body = found.partition("<tbody")[2].partition(">")[2]
    rows = [re.sub(r"<[^>]*>", " ", row) for row in body.split("</tr>") if "<t" in row]
    by_class = {row.split()[0] + ("+" if "+" in row.split("minmax")[0].split("search")[0] else ""): row for row in rows}
    assert by_class["compensation"].count("◆") == 3, "gptq is better than rtn at every width"
    assert by_class["none"].count("◆") == 0
    assert by_class["compensation+"].count("◆") == 0, "nothing else searches its range"
    coarse = cells.with_columns(group_size=pl.when(pl.col("method") == "gptq").then(64).otherwise("group_size"))
    apart = taxonomy(tables["scores"], coarse, "plain", "ppl wiki@64 (text)")
    assert "◆" not in apart, "no two classes share a granularity and a range"
    behind = cells.with_columns(propagate=pl.col("method") == "gptq")
    assert "◆" not in taxonomy(tables["scores"], behind, "plain", "ppl wiki@64 (text)")


def test_the_data_of_the_script_is_whole(written: str) -> None:
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', written, re.DOTALL)
    assert text is not None
    data = json.loads(text[1])
    assert len(data["cells"]) == 20, "the float models too"
    assert {cell["model"] for cell in data["cells"]} == set(report_data.MODELS)
    assert all(len(pairs) == 2 * 10 * 9 // 2 for pairs in data["stderrs"].values()), "models are not compared"


def test_a_report_without_scores_or_with_one_kind_has_a_page() -> None:
    tables = report_data.tables()
    empty = {
        **tables,
        "scores": scores_table({}),
        "pairs": tables["pairs"].clear(),
        "results": tables["results"].clear(),
    }
    bare = page(empty, report_data.origins(), {})
    assert "no cell has the scores that count" in bare
    assert "<svg class=" not in bare
    accuracy = {name: tables[name].filter(pl.col("score") == "acc % qa<i>") for name in ("scores", "pairs")}
    assert "acc % qa" in page({**tables, **accuracy}, report_data.origins(), {})


def test_anchors_of_different_cells_differ() -> None:
    cells = [("a", "b", "c", "d"), ("a_b", "c", "d", ""), ("a", "b_c", "d", ""), ("a+", "b", "c", "d")]
    assert len({anchor(cell) for cell in cells}) == len(cells)
    assert re.fullmatch(r"[\w.~-]+", anchor(("<", "é", "+", "d")))


@pytest.mark.parametrize(
    ("value", "text"), [(1.23456, "1.23"), (1020.4, "1020"), (0.000123456, "0.000123"), (-7.0, "-7")]
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value, 3) == text
    assert short(abs(value), 3, sign=True).startswith("+")


def test_the_page_is_one_file(tmp_path: Path) -> None:
    report_data.write_report(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]
