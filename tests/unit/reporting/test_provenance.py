"""What made each number, as a table and back."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import report_data

from ptqbench.__main__ import main
from ptqbench.reporting.provenance import origins_of, origins_table
from ptqbench.reporting.written import write_report


def test_the_table_holds_all_of_it() -> None:
    origins = report_data.origins()
    assert origins_of(origins_table(origins)) == origins
    assert origins_of(origins_table({})) == {}


def test_a_page_from_stored_tables_has_it(tmp_path: Path) -> None:
    write_report(report_data.tables(), report_data.origins(), {}, tmp_path / "index.html")
    before = (tmp_path / "index.html").read_text()
    assert "snakemake --cores all -- results/eval/x.json" in before
    main(["page", str(tmp_path)])
    assert (tmp_path / "index.html").read_text() == before
    assert len(pl.read_csv(tmp_path / "origins.csv")) == len(report_data.keys())
