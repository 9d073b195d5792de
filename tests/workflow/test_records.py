"""The records of a whole run: what damages them is named and made anew, and a run may be moved with them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clone import Clone, config, jobs, one_cell
from mutations import damage, places

from ptqbench.plan import Plan

CELL = "tiny/text/gptq/w4g32"


def strings(file: Path) -> Iterator[str]:
    """Every string that a record or table holds."""
    if file.suffix == ".parquet":
        table = pl.read_parquet(file)
        for name in table.columns:
            yield from (str(value) for value in table[name].to_list())
    else:
        content: Any = json.loads(file.read_text())
        for parent, name in places(content):
            yield from (str(name), parent[name] if isinstance(parent[name], str) else "")


def test_nothing_that_is_stored_names_where_the_working_directory_stands(finished: Clone) -> None:
    files = [file for kind in ("json", "parquet") for file in finished.root.glob(f"re*/**/*.{kind}")]
    files = [file for file in files if "resources" not in file.parts]
    assert {file.name for file in files} >= {"manifest.json", "plan.json", "perplexity.json", "tokens.parquet"}
    for file in files:
        for text in strings(file):
            assert file.name == "tokenizer.json" or not text.startswith("/"), file  # whose words may be anything
            assert str(finished.root) not in text, file


def test_every_file_has_the_permissions_that_umask_gives(finished: Clone) -> None:
    umask = os.umask(0)
    os.umask(umask)
    for name in ("results", "reports", "logs"):
        for path in (finished.root / name).rglob("*"):
            whole = 0o777 if path.is_dir() else 0o666
            assert path.stat().st_mode & 0o777 == whole & ~umask, path


def test_a_run_that_is_moved_goes_on(clone: Clone) -> None:
    """Renamed and reached through a link: nothing is stale, and another suite is evaluated on what is there."""
    (clone.root.parent / "elsewhere").mkdir()
    moved = clone.root.rename(clone.root.parent / "elsewhere/renamed")
    (clone.root.parent / "link").symlink_to(moved)
    for root in (moved, clone.root.parent / "link"):
        assert Clone(root).stale() == set()
    linked, changed = Clone(clone.root.parent / "link"), config()
    changed["suites"]["short"] = {**changed["suites"]["perplexity"], "window": 16}
    changed["grid"][0]["suites"].append("short")
    linked.configure(changed)
    target = f"results/eval/{CELL}/short.json"
    run = linked.snakemake(target)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout) == {("evaluate", f"{CELL}/short")}


def numbers(clone: Clone) -> str:
    """What the report shows, but for times; as text, in which NaN equals NaN."""
    cells = pl.read_parquet(clone.root / "reports/cells.parquet")
    results = pl.read_parquet(clone.root / "reports/results.parquet")
    return str((cells.drop("quantize_seconds", "peak_memory_bytes").to_dicts(), results.to_dicts()))


def test_every_record_at_once_is_named_and_made_anew_by_one_run(clone: Clone) -> None:
    clone.configure(one_cell())
    assert clone.snakemake().returncode == 0
    expected = numbers(clone)
    plan = Plan(one_cell(), clone.root)
    records = list(plan.outputs(Path("results")))
    for index, record in enumerate(records):
        damage(clone.root / record, index)
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout
    assert "Traceback" not in run.stdout
    named = [line for line in run.stdout.splitlines() if line.startswith("damaged: ")]
    assert [line.split()[1] for line in named] == [str(record) for record in records]
    assert all(line.endswith(": withdrawn, snakemake makes it anew") for line in named)
    assert numbers(clone) == expected
    assert clone.stale() == set()
    assert not list(clone.root.glob("results/**/*.damaged"))


@pytest.mark.parametrize("name", ["results", "reports", "logs", ".snakemake"])
def test_a_file_where_a_folder_should_be_is_one_line(blank: Clone, tmp_path: Path, name: str) -> None:
    clone = blank.copy(tmp_path / "clone")
    (clone.root / name).write_text("mine")
    run = clone.snakemake("--dry-run")
    assert run.returncode == 1
    shown = [line for line in run.stdout.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(shown) == 1, run.stdout
    assert shown[0].startswith(f"error: {name}: ")
    assert (clone.root / name).read_text() == "mine"
