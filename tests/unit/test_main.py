"""The command line over a report's tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import report_data

from ptqbench.__main__ import main
from ptqbench.reporting.provenance import origins_table


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
    assert text.startswith("deploy  plain/none/float/float, the unquantized model")
    assert "serve   vllm serve results/" in text
    assert "better than the next, plain/c/" in text
    assert "quality being ppl wiki@64 (text)" in text


def test_each_model_has_an_answer_of_its_own(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--report", report, "--max-drop", "20%", "--prefer", "size")
    parts = text.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [f"model   {model}" for model in report_data.MODELS]
    for part, model in zip(parts, report_data.MODELS, strict=True):
        deployed = next(line for line in part.splitlines() if line.startswith("deploy"))
        assert deployed.startswith(f"deploy  {model}/")
        alone = said(capsys, "--report", report, "--max-drop", "20%", "--prefer", "size", "--model", model)
        assert alone.strip() == part.partition("\n")[2].strip()


def test_smaller_is_preferred_when_asked(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--report", report, "--model", "plain", "--prefer", "size", "--task", "wiki")
    alike = "deploy  plain/c/awq+gptq/w4\n"
    assert said(capsys, *size).startswith(alike), "all that are smaller are worse by more than chance"
    text = said(capsys, *size, "--max-drop", "300%")
    assert text.startswith("deploy  plain/c/gptq/w2\n")
    assert "ranked by size, quality being ppl wiki@64 (text)" in text


def test_a_model_that_was_not_measured_on_a_task_says_so(
    tmp_path: Path, report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    kept = scores.filter((pl.col("model") == "plain") | (pl.col("kind") == "accuracy"))
    kept.write_parquet(tmp_path / "scores.parquet")
    text = said(capsys, "--report", report, "--task", "wiki")
    assert f"none, because {report_data.MODELS[1]} was not measured on wiki" in text
    assert "deploy  plain/" in text


def test_a_page_from_stored_tables_is_that_of_the_report(tmp_path: Path, report: str) -> None:
    pairs = pl.read_parquet(tmp_path / "pairs.parquet")
    for name in ("scores", "pairs"):
        (tmp_path / f"{name}.parquet").unlink()
    origins_table(report_data.origins()).write_parquet(tmp_path / "origins.parquet")
    main(["page", report])
    assert pl.read_parquet(tmp_path / "pairs.parquet").equals(pairs)
    text = (tmp_path / "index.html").read_text()
    assert "<h2 id='answer'>" in text
    assert text.count("snakemake --cores all -- results/eval/x.json") == len(report_data.keys()), "what made each"
    assert len(pl.read_csv(tmp_path / "origins.csv")) == len(report_data.keys())
    assert (tmp_path / "size_against_quality.png").is_file()
    cells = pl.read_parquet(tmp_path / "cells.parquet")
    cells.drop("serve", "dense", "range").write_parquet(tmp_path / "cells.parquet")
    main(["page", report])
    assert "vllm serve" not in (tmp_path / "index.html").read_text(), "an older table does not know"


def test_none(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--report", report, "--memory", "1KB").count("none, because") == 2


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
