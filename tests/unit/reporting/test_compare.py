"""Scores of two reports beside each other."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ptqbench.__main__ import main
from ptqbench.reporting.compare import differences, told
from ptqbench.reporting.results import RESULTS

SHARED = {"model": "m", "calibration": "c", "method": "gptq", "backend": "transformers", "export": "dense", "n": 9}


def results(*rows: tuple[str, str, str, float, float]) -> pl.DataFrame:
    """Rows of scheme, suite and metric with a value and its standard error."""
    names = ("scheme", "suite", "metric", "value", "stderr")
    return pl.DataFrame(
        [{**SHARED, "task": "wiki", **dict(zip(names, row, strict=True))} for row in rows], schema=RESULTS
    )


BEFORE = results(
    ("w4", "text", "bits_per_byte", 1.0, 0.01),
    ("w2", "text", "bits_per_byte", 2.0, 0.02),
    ("w2", "text", "perplexity", 9.0, 0.5),
    ("w3", "text", "bits_per_byte", 1.5, 0.01),
    ("w8", "images", "acc", 1.0, 0.0),
)
AFTER = results(
    ("w2", "text", "bits_per_byte", 2.1, 0.01),
    ("w4", "text", "bits_per_byte", 0.999, 0.01),
    ("w4", "served", "bits_per_byte", 7.0, 0.01),
    ("w8", "images", "acc", 1.0, 0.0),
    ("w2", "text", "perplexity", 11.0, 0.5),
)


def test_what_both_have_in_standard_errors() -> None:
    found = differences(BEFORE, AFTER)
    assert found["scheme"].to_list() == ["w4", "w2", "w8"]
    assert found["distance"].to_list() == pytest.approx([0.1, 5.0, 0.0])


def test_the_farthest_come_first_and_the_rest_is_counted() -> None:
    lines = told(differences(BEFORE, AFTER), beyond=0.05, most=1)
    assert lines[0] == "3 scores are in both, 0.1 standard errors apart in the median, 2 by more than 0.05"
    assert "m/c/gptq/w2  text/wiki" in lines[1]
    assert "2 -> 2.1 bits per byte" in lines[1]
    assert lines[2:] == ["         and 1 more"]


def test_reports_without_a_common_score() -> None:
    assert told(differences(BEFORE, AFTER.clear()), 3, 20) == ["no score is in both reports"]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, table in (("a", BEFORE), ("b", AFTER)):
        (tmp_path / name).mkdir()
        table.write_parquet(tmp_path / name / "results.parquet")
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "1 by more than 3" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="there is no"):
        main(["compare", str(tmp_path / "a"), str(tmp_path / "none")])
