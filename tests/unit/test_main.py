"""The command line over a report's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_data

from ptqbench.__main__ import main


@pytest.fixture
def report(tmp_path: Path) -> str:
    for name, table in report_data.tables().items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    return str(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["recommend", *arguments])
    return capsys.readouterr().out


def test_it_names_the_cell_how_sure_and_how_to_serve_it(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--report", report, "--model", "plain", "--max-drop", "10%", "--task", "wiki")
    assert text.startswith("deploy  plain/c/")
    assert "serve   vllm serve results/" in text
    assert "better than the next, plain/c/" in text
    assert "quality being ppl wiki" in text


def test_the_unquantized_model_that_fits_is_named(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the unquantized plain fits" in said(capsys, "--report", report, "--model", "plain", "--memory", "1GB")
    assert "unquantized" not in said(capsys, "--report", report, "--model", "plain", "--memory", "5MB")


def test_smaller_is_preferred_when_asked(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--report", report, "--model", "plain", "--prefer", "size")
    assert text.startswith("deploy  plain/c/rtn/w2\n")
    assert "1 layer did not run as asked: " in text


def test_none(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--report", report, "--memory", "1KB").startswith("none, because")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"PAR1" * 30])
@pytest.mark.parametrize("command", ["recommend", "compare"])
def test_a_table_that_is_none_is_one_line(report: str, command: str, content: bytes) -> None:
    (Path(report) / "results.parquet").write_bytes(content)
    arguments = ["recommend", "--report", report] if command == "recommend" else ["compare", report, report]
    with pytest.raises(SystemExit, match=r"^error: [^\n]*: run snakemake again$"):
        main(arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--memory", "lots"], "error: --memory is 'lots'"),
        (["--model", "plane"], "error: --model is 'plane': the report has"),
        (["--report", "nowhere"], "run snakemake first"),
    ],
)
def test_mistakes_are_one_line(report: str, arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["recommend", "--report", report, *arguments])
    assert words in str(stopped.value)
