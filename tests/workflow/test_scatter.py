"""A cell whose blocks several jobs quantize."""

from __future__ import annotations

from pathlib import Path

from clone import Clone, one_cell

from ptqbench.manifest import load

MANIFEST = Path("results/quantized/tiny/text/gptq/w4g32/manifest.json")
PATH = "tiny/text/gptq/w4g32"
CELL = {
    *(("quantize_part", f"{PATH}/{part}") for part in (0, 1)),
    ("quantize", PATH),
    ("export", PATH),
    ("evaluate", f"{PATH}/perplexity"),
}


def test_scattered_cells_are_the_same_to_the_bit_and_as_stale_as_others(clone: Clone) -> None:
    before = load(clone.root / MANIFEST)["files"]
    clone.configure({**one_cell(), "scatter": 2})
    assert clone.stale() == CELL
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout
    assert load(clone.root / MANIFEST)["files"] == before
    assert clone.stale() == set()
    clone.edit("src/ptqbench/methods/columns.py", "PANEL = 8 ", "PANEL = 4 ")
    assert clone.stale() == CELL
