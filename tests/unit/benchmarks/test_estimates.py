"""What is expected of the jobs of known shapes is what the stored tables say, and what they measured."""

from __future__ import annotations

from types import ModuleType

import polars as pl
import pytest
from scripts import script

EXPECTED = ("expected by default", "expected", "expected memory MB", "expected disk MB")
# measured while packed weights were decompressed on the host (before commit e7ac422): seconds, not memory
OF_BEFORE = ("evaluate",)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return script("estimates")


@pytest.fixture(scope="module")
def stored(benchmark: ModuleType) -> dict[str, pl.DataFrame]:
    return {shape: pl.read_csv(benchmark.RESULTS / f"estimates-{shape}.csv") for shape in benchmark.CHAINS}


@pytest.fixture(scope="module")
def again(benchmark: ModuleType, stored: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    found: dict[str, pl.DataFrame] = benchmark.again(stored)
    return found


def test_the_tables_hold_what_is_expected_today(
    stored: dict[str, pl.DataFrame], again: dict[str, pl.DataFrame]
) -> None:
    """Else: ``python benchmarks/estimates.py --again``."""
    for shape, table in stored.items():
        for column in EXPECTED:
            assert table[column].to_list() == pytest.approx(again[shape][column].to_list(), abs=0.006), (shape, column)


def test_memory_and_disk_are_within_a_tenth_of_what_was_measured(again: dict[str, pl.DataFrame]) -> None:
    for shape, table in again.items():
        for row in table.iter_rows(named=True):
            for kind in ("memory MB", "disk MB"):
                measured = row[kind]
                if measured:
                    assert row[f"expected {kind}"] == pytest.approx(measured, rel=0.1, abs=0.1), (shape, row["rule"])


def test_times_are_within_half_of_what_was_measured(again: dict[str, pl.DataFrame]) -> None:
    """By default rates and by those of the models before; the machine was another than that of the defaults."""
    for shape, table in again.items():
        for row in table.filter(~pl.col("rule").is_in(OF_BEFORE)).iter_rows(named=True):
            for kind in ("expected by default", "expected"):
                assert 1 / 1.5 < row[kind] / row["seconds"] < 1.5, (shape, row["rule"], kind)
