"""Weights that float16's scales cannot hold: the cell is as good as of ordinary ones, or says that it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_cell, make_model, write_statistics

from ptqbench.drive.records import settle
from ptqbench.models.adapter import by_producer
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.numbers.grid import LARGEST_SCALE, SMALLEST_SCALE, Grid

METHODS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "mse": {"range": "mse"},
    "search": {"range": "search", "rounding": "gptq"},
    "rms": {"range": {"rms": {"zero": "integer"}}, "rounding": "ldlq"},
    "awq": {"transform": "salience", "range": "search"},
    "rotated": {"transform": {"rotation": "hadamard"}, "rounding": "gptq"},
}
GRIDS = [Grid(8, -1, symmetric=True), Grid(4, 32)]
POWERS = (-20, -8, -3, 30)


def moved(source: Path, folder: Path, power: int) -> Path:
    """The same function: every linear that a norm feeds times ``2^power``, the norm divided by it."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    checkpoint, tensors = Checkpoint(source), load_file(source / "model.safetensors")
    for block in range(checkpoint.n_blocks):
        prefix = checkpoint.adapter.prefix(block)
        for group in by_producer(checkpoint.adapter.sites(checkpoint.config, block)):
            if group[0].producer is None or group[0].producer.kind != "norm":
                continue
            tensors[f"{prefix}{group[0].producer.name}.weight"] *= 2.0**-power
            for linear in (name for site in group for name in (*site.linears, *site.readers)):
                tensors[f"{prefix}{linear}.weight"] *= 2.0**power
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def cell_records(model: Path, method: dict[str, Any], grid: Grid) -> list[dict[str, Any]]:
    statistics = model.parent / f"{model.name}-statistics"
    if not statistics.exists():
        write_statistics(model, statistics)
    with torch.no_grad():
        return [record for block, _ in make_cell(model, statistics, method, grid).blocks() for record in block.records]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("limits")
    plain = make_model(folder / "plain")
    return {0: plain} | {power: moved(plain, folder / f"moved{power}", power) for power in POWERS}


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_linear_is_as_good_as_with_weights_of_ordinary_size_or_says_that_it_is_not(
    models: dict[int, Path], method: str, grid: Grid
) -> None:
    expected = {record["linear"]: record for record in cell_records(models[0], METHODS[method], grid)}
    assert not any("2^" in str(record.get("fallback")) for record in expected.values())
    told = set()
    for power in POWERS:
        for record in cell_records(models[power], METHODS[method], grid):
            says = "2^" in str(record.get("fallback"))
            told |= {power} if says else set()
            ordinary = expected[record["linear"]]["proxy_loss"]
            assert record["proxy_loss"] < 1.05 * ordinary or says, (power, record["linear"])
    assert -3 not in told
    assert told & {-20} or method == "rotated", "a rotation folds the norms into the weights, which are ordinary then"


@pytest.mark.parametrize(("power", "words"), [(-25, "coarse"), (20, "clipped"), (0, None)])
def test_which_scales_are_told(power: int, words: str | None) -> None:
    scale = (torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) + 0.5) * 2.0**power
    record: dict[str, Any] = Grid(4).at_limits(scale.clamp(SMALLEST_SCALE, LARGEST_SCALE))
    settle([record])
    assert record.get("fallback", {}).get("kind") == words


def test_small_groups_beside_large_ones_cost_nothing_and_are_not_told() -> None:
    scale = torch.full((40, 4), 0.01)
    scale[:20] = SMALLEST_SCALE
    record: dict[str, Any] = Grid(4).at_limits(scale)
    settle([record])
    assert "fallback" not in record
    assert record["scale_floor"] == pytest.approx(SMALLEST_SCALE**2 / (SMALLEST_SCALE**2 + 0.01**2))
