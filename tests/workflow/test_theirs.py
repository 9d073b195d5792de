"""A checkpoint that somebody else quantized, beside our cells: here one of ours, under another name."""

from __future__ import annotations

import shutil

import polars as pl
from clone import Clone, config

from ptqbench.cells import Cell
from ptqbench.manifest import read_result

OURS, THEIRS = Cell("tiny", "text", "gptq", "w4g32"), Cell("tiny", "unknown", "other", "theirs")


def test_it_scores_as_its_own_cell_and_recomputes_nothing_else(clone: Clone) -> None:
    shutil.copytree(clone.root / f"results/packed/{OURS.path}/checkpoint", clone.root / "theirs")
    clone.configure({**config(), "checkpoints": {"other": {"path": "theirs", "of": "tiny"}}})
    jobs = {("adopt", THEIRS.path), *(("evaluate", f"{THEIRS.path}/{suite}") for suite in ("perplexity", "pairs"))}
    assert clone.stale() == jobs
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout

    for suite in ("perplexity", "pairs"):
        own, other = (read_result(clone.root / f"results/eval/{cell.path}/{suite}.json") for cell in (OURS, THEIRS))
        assert own["rows"] == other["rows"]
    cells = {Cell.of(row): row for row in pl.read_parquet(clone.root / "reports/cells.parquet").to_dicts()}
    own, other = cells[OURS], cells[THEIRS]
    for name in ("served_bytes", "checkpoint_bytes", "bits", "group_size", "format", "n_parameters", "dtype"):
        assert own[name] == other[name], name
    assert other["checkpoint"] == "theirs"
    assert other["theirs"].endswith("in float; method and calibration unknown")
    assert own["theirs"] is None
    # what is stored besides the codes, the scales and the zero-points: the shape, and padding
    assert own["bits_per_weight"] < other["bits_per_weight"] < 1.02 * own["bits_per_weight"]
    page, summary = ((clone.root / f"reports/{name}").read_text() for name in ("index.html", "summary.md"))
    assert "1 checkpoint of others" in page
    assert "method and calibration unknown" in page
    assert f"| tiny | unknown | other | theirs | {other['theirs']} |" in summary

    with open(clone.root / "theirs/config.json", "a") as file:
        file.write("\n")
    assert clone.stale() == jobs
