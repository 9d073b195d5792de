"""Cayley descent stays on the orthogonal group, and learning lowers the rounding error it descends."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import (
    FAMILIES,
    MIXTURES,
    SEEING,
    make_cell,
    make_model,
    save_with,
    tokens,
    transformed_tensors,
    write_statistics,
)
from torch import Tensor

from ptqbench.linalg.rotations import Rotations
from ptqbench.methods.ranges import minmax
from ptqbench.methods.transforms import rotation_learned
from ptqbench.methods.transforms.rotation_learned import cayley_step, learn
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.numbers.grid import Grid

BLOCKS: tuple[int, ...] = (1, 4, 5, 28, 80, 120, 126, 200)
BLOCKS = tuple(range(1, 201)) if os.environ.get("PTQBENCH_SOAK") else BLOCKS


def test_cayley_keeps_orthogonality_over_many_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(48, 48, generator=generator, dtype=torch.float64))[0]
    for _ in range(200):
        gradient = torch.randn(48, 48, generator=generator, dtype=torch.float64)
        rotation = cayley_step(rotation, gradient, 1.0)
    assert (rotation @ rotation.T - torch.eye(48)).abs().max() < 1e-6


def test_cayley_without_skew_part_is_the_identity() -> None:
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    symmetric = torch.ones(8, 8, dtype=torch.float64)
    torch.testing.assert_close(cayley_step(rotation, symmetric @ rotation, 1.0), rotation)
    assert cayley_step(rotation, None, 1.0) is not None


def test_cayley_descends() -> None:
    generator = torch.Generator().manual_seed(0)
    target, rotation = (
        torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0] for _ in range(2)
    )
    rotation = rotation * torch.sign(torch.linalg.det(rotation) * torch.linalg.det(target))
    before = (rotation - target).norm()
    for _ in range(5):
        rotation = cayley_step(rotation, rotation - target, 0.1)
    assert (rotation - target).norm() < before


@pytest.mark.parametrize("family", ["llama", "mixtral", "deepseek"])
@pytest.mark.parametrize("objective", ["block", "cross_entropy"])
def test_learning_lowers_the_objective(tmp_path: Path, objective: str, family: str) -> None:
    path = make_model(tmp_path / "model", family)
    method = {"transform": {"rotation": {"learned": {"steps": 30, "rate": 0.3, "objective": objective}}}}
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), method, Grid(2, 32))
    found = cell.rotations
    assert found is not None
    assert found.record["loss"] < found.record["first_loss"]
    rotations = found.matrices()
    assert all((r @ r.T - torch.eye(len(r))).abs().max() < 1e-6 for r in rotations)


class Toy:
    """R1 and every block's R2 are to become rotations nearby; it notes which states were looked at, and by what."""

    def __init__(self, blocks: int) -> None:
        self.blocks, generator = blocks, torch.Generator().manual_seed(blocks)
        self.start = [self._turned(torch.eye(4, dtype=torch.float64), generator, 1.0) for _ in range(2)]
        self.target = [self._turned(start, generator, 0.3) for start in self.start]
        self.trained: list[int] = []
        self.looks: list[tuple[int, list[int]]] = []  # after how many parts trained on: the parts looked at

    @staticmethod
    def _turned(rotation: Tensor, generator: torch.Generator, size: float) -> Tensor:
        skew = size * torch.randn(4, 4, generator=generator, dtype=torch.float64)
        return torch.linalg.matrix_exp(skew - skew.T) @ rotation

    def loss(self, rotations: Rotations, part: int) -> Tensor:
        if torch.is_grad_enabled():
            self.trained.append(part % self.blocks)
        else:
            if not self.looks or self.looks[-1][0] != len(self.trained):
                self.looks.append((len(self.trained), []))
            self.looks[-1][1].append(part)
        pairs = zip((rotations.r1, rotations.r2[part % self.blocks]), self.target, strict=True)
        return sum((found - target).square().sum() for found, target in pairs)

    def run(self, steps: int) -> Rotations:
        cell: Any = SimpleNamespace(
            device=torch.device("cpu"), stream=range(self.blocks), n_blocks=self.blocks, checkpoint=None
        )
        start = Rotations(self.start[0], (self.start[1],) * self.blocks, range(self.blocks))
        return learn(cell, start, steps, 0.3, self.loss, whole=False)


@pytest.mark.parametrize("steps", [7, 120])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_any_number_of_blocks_is_learned_and_the_best_state_seen_is_returned(blocks: int, steps: int) -> None:
    toy = Toy(blocks)
    found = toy.run(steps)
    losses = [Toy(blocks).loss(found, block).item() for block in range(blocks)]
    first, loss = found.record["first_loss"], found.record["loss"]
    assert loss == pytest.approx(sum(losses) / blocks, rel=1e-12), "it is the loss of the state returned"
    assert loss < 0.9 * first, "learning happened"
    assert loss < 0.2 * first or blocks > steps // 4, "far, where every R2 had four steps"
    assert set(toy.trained) == set(range(blocks)) or blocks < steps, "every block had a step"
    assert toy.looks[0][0] == 0
    assert toy.looks[-1][0] == len(toy.trained), "the last state is among those looked at"
    assert all(parts == list(range(blocks)) for _, parts in toy.looks), "each time at all blocks"
    on_the_way = [number for number, _ in toy.looks[1:]]
    assert len(on_the_way) >= min(steps, rotation_learned.LOOKS)
    looked = blocks * (len(toy.looks) - 1)
    assert looked <= max(len(toy.trained) + blocks, (rotation_learned.LOOKS + 1) * blocks), "and it is affordable"


def test_the_start_is_returned_where_no_step_helps() -> None:
    toy = Toy(3)
    toy.target = toy.start
    found = toy.run(20)
    assert found.record["loss"] == found.record["first_loss"]
    assert torch.equal(found.r1, toy.start[0])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", [family for family in (*FAMILIES, *MIXTURES) if family not in SEEING])
def test_cross_entropy_is_that_of_the_rotated_and_rounded_checkpoint(tmp_path: Path, family: str, tied: bool) -> None:
    """Written, loaded and run as any model is; learning starts from it, whether or not the head is tied."""
    grid = Grid(4, 32)
    path = make_model(tmp_path / "model", family, tie_word_embeddings=tied)
    if Checkpoint(path).adapter.norms != "rms":
        pytest.skip("no rotation gets through")
    statistics = write_statistics(path, tmp_path / "statistics")
    learned = {"learned": {"steps": 2, "rate": 0.1, "objective": "cross_entropy"}}
    found = make_cell(path, statistics, {"transform": {"rotation": learned}}, grid).rotations
    assert found is not None
    assert found.record["loss"] <= found.record["first_loss"]

    cell = make_cell(path, statistics, {"transform": {"rotation": "hadamard"}}, grid)
    tensors = transformed_tensors(cell)
    for name in (f"{linear}.weight" for linear in cell.checkpoint.linears()):
        groups = grid.grouped(tensors[name])
        scale, zero = (end.unsqueeze(-1) for end in grid.from_bounds(*minmax.Minmax().bounds(groups, grid, None)))
        tensors[name] = grid.decode(grid.encode(groups, scale, zero), scale, zero).flatten(1)
    model = load_model(save_with(cell, tensors, tmp_path / "saved"), cell.checkpoint.adapter).eval()
    batch = tokens()[:1]
    with torch.no_grad():
        expected = model(input_ids=batch, labels=batch, use_cache=False).loss.item()
    assert found.record["first_loss"] == pytest.approx(expected, rel=1e-3)
