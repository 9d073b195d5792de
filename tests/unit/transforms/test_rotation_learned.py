"""Cayley descent stays on the orthogonal group, and learning lowers the rounding error it descends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import make_cell, make_model, write_statistics

from ptqbench.quantize.grid import Grid
from ptqbench.transforms.rotation_learned import cayley_step


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
    prepared = cell.prepared[0]["prepared"]
    assert prepared["loss"] < prepared["first_loss"]
    rotations = [prepared["r1"], *prepared["r2"]]
    assert all((r @ r.T - torch.eye(len(r))).abs().max() < 1e-6 for r in rotations)
