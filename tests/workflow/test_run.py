"""The whole chain on a tiny model, from one command to the report."""

from __future__ import annotations

import time

import polars as pl
import pytest
from clone import Clone, jobs

CELLS = {("none", "float", "float"), *(("text", m, s) for m in ("rtn", "gptq") for s in ("w4g32", "w2g32"))}
RESULTS = {
    "model": pl.String,
    "calibration": pl.String,
    "method": pl.String,
    "scheme": pl.String,
    "backend": pl.String,
    "export": pl.String,
    "suite": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "n": pl.Int64,
    "window": pl.Int64,
    "asked": pl.Boolean,
    "leaves": pl.List(pl.String),
    "weights": pl.List(pl.Float64),
    "top_k": pl.Int64,
}
CELL_COLUMNS = {
    "model": pl.String,
    "calibration": pl.String,
    "method": pl.String,
    "structure": pl.String,
    "family": pl.String,
    "strategy": pl.List(pl.String),
    "scheme": pl.String,
    "bits": pl.Int64,
    "group_size": pl.Int64,
    "number": pl.String,
    "theirs": pl.String,
    "bits_per_weight": pl.Float64,
    "checkpoint_bytes": pl.Int64,
    "quantize_seconds": pl.Float64,
    "peak_memory_bytes": pl.Int64,
    "proxy_loss": pl.Float64,
    "fallbacks": pl.List(pl.String),
    "propagate": pl.Boolean,
    "format": pl.String,
    "checkpoint": pl.String,
    "served_bytes": pl.Int64,
    "serve_flags": pl.List(pl.String),
    "serve": pl.String,
    "range": pl.String,
    "dtype": pl.String,
    "dense": pl.String,
    "n_parameters": pl.Int64,
    "added_bytes": pl.Int64,
    "float_bytes": pl.Int64,
    "checkpoint_bits_per_parameter": pl.Float64,
    "seed": pl.Int64,
    "seeds_of": pl.String,
    "expected_memory_bytes": pl.Int64,
}


@pytest.fixture(scope="module")
def results(finished: Clone) -> pl.DataFrame:
    return pl.read_parquet(finished.root / "reports/results.parquet")


@pytest.fixture(scope="module")
def cells(finished: Clone) -> pl.DataFrame:
    return pl.read_parquet(finished.root / "reports/cells.parquet")


def test_the_two_schemas_are_the_contract(results: pl.DataFrame, cells: pl.DataFrame) -> None:
    assert dict(results.schema) == RESULTS
    assert dict(cells.schema) == CELL_COLUMNS


def test_every_cell_is_there_once(cells: pl.DataFrame) -> None:
    assert set(cells.select("calibration", "method", "scheme").iter_rows()) == CELLS
    assert len(cells) == len(CELLS)


def test_every_evaluation_is_there(results: pl.DataFrame) -> None:
    perplexity = results.filter(pl.col("metric") == "perplexity")
    assert set(perplexity.select("calibration", "method", "scheme").iter_rows()) == CELLS
    assert perplexity["n"].to_list() == [4] * len(CELLS)
    assert perplexity["value"].is_between(1, 1e6).all()
    accuracy = results.filter(pl.col("suite") == "pairs", pl.col("metric") == "acc")
    assert set(accuracy.select("method", "scheme").iter_rows()) == {("float", "float"), ("gptq", "w4g32")}
    assert (accuracy["value"] * 4 % 1 == 0).all()  # right answers among four
    assert results["stderr"].is_finite().all()


def test_planning_tries_nothing_in_vain(finished: Clone) -> None:
    assert "Exception" not in (finished.root / "output.txt").read_text()


def test_the_baseline_went_through_the_same_rule(finished: Clone) -> None:
    evaluated = {
        wildcards for rule, wildcards in jobs((finished.root / "output.txt").read_text()) if rule == "evaluate"
    }
    assert "tiny/none/float/float/perplexity" in evaluated
    assert len(evaluated) == 7


def test_compensation_lowers_the_proxy_loss(cells: pl.DataFrame) -> None:
    loss = {(row["method"], row["scheme"]): row["proxy_loss"] for row in cells.iter_rows(named=True)}
    assert loss["gptq", "w2g32"] < loss["rtn", "w2g32"]
    assert loss["gptq", "w4g32"] < loss["rtn", "w4g32"]
    assert loss["float", "float"] is None


def test_bits_count_scales_and_zeros(cells: pl.DataFrame) -> None:
    bits = {row["scheme"]: row["bits_per_weight"] for row in cells.iter_rows(named=True)}
    assert cells.filter(method="float")["dtype"].to_list() == ["bfloat16"]
    assert bits == {"float": 16.0, "w4g32": pytest.approx(4 + 20 / 32), "w2g32": pytest.approx(2 + 18 / 32)}


def test_the_page_and_the_summary_name_every_cell(finished: Clone) -> None:
    summary = (finished.root / "reports/summary.md").read_text()
    page = (finished.root / "reports/index.html").read_text()
    for _, method, scheme in CELLS:
        assert any(method in line and scheme in line for line in summary.splitlines())
        assert method in page
        assert scheme in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (finished.root / "reports/size_against_quality.png").stat().st_size > 1000


def test_a_second_run_does_nothing_and_says_so(clone: Clone) -> None:
    before, begun = clone.finished(), time.monotonic()
    run = clone.snakemake()
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout
    assert time.monotonic() - begun < 15
    assert clone.finished() == before
