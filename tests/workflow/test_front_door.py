"""One command from a model's folder to the answer and a page, with blanks in both paths, from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl

SOURCE = Path(__file__).parents[2] / "src"


def ptqbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in ``folder``, without an activated environment."""
    return subprocess.run(
        [sys.executable, "-m", "ptqbench", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "CUDA_VISIBLE_DEVICES": "", "PATH": os.defpath},
        capture_output=True,
        text=True,
    )


def test_one_command_to_the_answer(tiny_model: Path, tmp_path: Path) -> None:
    model, elsewhere = tmp_path / "my models/tiny one", tmp_path / "some where"
    shutil.copytree(tiny_model, model)
    elsewhere.mkdir()
    asked = ("run", str(model), "--methods", "rtn", "--max-drop", "100%")

    dry = ptqbench(elsewhere, *asked, "-n")
    assert dry.returncode == 0, dry.stderr
    lines = dry.stdout.splitlines()
    assert any(line.split()[:3] == ["quantize", "tiny-one", "1"] for line in lines)
    assert len(lines) < 30
    assert not (elsewhere / "ptqbench-tiny-one/results/packed").exists()

    run = ptqbench(elsewhere, *asked)
    assert run.returncode == 0, run.stdout + run.stderr
    folder = elsewhere / "ptqbench-tiny-one"
    said = run.stdout.splitlines()
    command = next(line for line in said if line.startswith("$ snakemake "))
    assert f"--directory '{folder}'" in command
    assert "within  100 % lost" in said
    assert "deploy  tiny-one/wikitext2/rtn/w4g64" in said, "the smallest that holds, and not the unquantized model"
    page = next(line for line in said if line.startswith("page    ")).removeprefix("page    ")
    assert Path(page).is_file()
    cells = pl.read_parquet(folder / "reports/cells.parquet")
    assert cells["method"].to_list() == ["float", "rtn"]
    assert list(elsewhere.iterdir()) == [folder], "nothing is written anywhere else"

    card = ptqbench(folder, "card", "tiny-one/wikitext2/rtn/w4g64")
    assert card.returncode == 0, card.stderr
    assert "## What it recovers" in card.stdout
