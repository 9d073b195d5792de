"""Every transform leaves the float model's logits unchanged, and its closed-form statistics are the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import (
    FAMILIES,
    MIXTURES,
    logits,
    make_cell,
    make_model,
    relative,
    save_with,
    transformed_tensors,
    write_statistics,
)

from ptqbench.compositions import acts, check_model, lacks
from ptqbench.drive import traffic
from ptqbench.drive.propagate import PropagatedCell
from ptqbench.errors import UserError
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import Grid

TRANSFORMS = {
    "salience": "salience",
    "plain salience": {"salience": {"duo": False}},
    "smooth": "smooth",
    "hadamard": {"rotation": "hadamard"},
    "hadamard without r2": {"rotation": {"hadamard": {"r2": False}}},
    "learned": {"rotation": {"learned": {"steps": 4}}},
    "hadamard, then salience": [{"rotation": "hadamard"}, "salience"],
    "smooth, then hadamard": ["smooth", {"rotation": "hadamard"}],
}


@pytest.fixture(scope="module", params=[*FAMILIES, *MIXTURES])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    path = make_model(folder / "model", request.param)
    return path, write_statistics(path, folder / "statistics")


def prepared(model: tuple[Path, Path], transform: object) -> PropagatedCell:
    """A cell of the transform, where the planner lets the model have it; else nothing is left to test."""
    checkpoint = Checkpoint(model[0])
    absent = lacks(checkpoint.adapter, checkpoint.config) - {"folded_scales"}
    needed = {fact for act in acts(normalize("test", {"transform": transform})) for fact in act.needs}
    if absent & needed:
        with pytest.raises(UserError):
            check_model(normalize("test", {"transform": transform}), "methods.test", "tiny", absent)
        pytest.skip("refused")
    return make_cell(*model, {"transform": transform}, Grid(3, 32))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_logits_are_unchanged(model: tuple[Path, Path], transform: object) -> None:
    cell = prepared(model, transform)
    plain = make_cell(*model, {}, Grid(3, 32))
    expected = logits(plain, transformed_tensors(plain))
    tensors = transformed_tensors(cell)
    before = transformed_tensors(plain)
    assert any(not torch.equal(tensors[name], tensor) for name, tensor in before.items()), "the transform did nothing"
    assert relative(logits(cell, tensors), expected) < 1e-4


@pytest.mark.parametrize("name", ["salience", "learned", "smooth, then hadamard"])
def test_statistics_equal_those_of_the_transformed_model(
    model: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(traffic, "WEIGHT", 1e-12)  # the prior of an expert's inputs is in the original basis
    cell = prepared(model, TRANSFORMS[name])
    save_with(cell, transformed_tensors(cell), tmp_path / "moved")
    real = make_cell(tmp_path / "moved", write_statistics(tmp_path / "moved", tmp_path / "statistics"), {}, Grid(3, 32))
    for index in range(cell.n_blocks):
        state, expected = cell.state(index), real.state(index)
        cell.transform(state)
        for name, statistics in state.statistics.items():
            assert relative(statistics.hessian, expected.statistics[name].hessian) < 1e-4
            if statistics.max_abs is not None:
                torch.testing.assert_close(statistics.max_abs, expected.statistics[name].max_abs, rtol=1e-3, atol=1e-5)
                torch.testing.assert_close(
                    statistics.mean_abs, expected.statistics[name].mean_abs, rtol=1e-3, atol=1e-5
                )


def test_folded_norms_are_exact_in_the_stored_dtype(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", dtype=torch.bfloat16)
    statistics = write_statistics(path, tmp_path / "statistics")
    cell, plain = (make_cell(path, statistics, method, Grid(3, 32)) for method in ({"transform": "salience"}, {}))
    tensors = transformed_tensors(cell)
    norms = [name for name in tensors if name.endswith("layernorm.weight")]
    assert all(torch.equal(tensors[name], tensors[name].bfloat16().float()) for name in norms)
    assert any(not torch.equal(tensors[name], transformed_tensors(plain)[name]) for name in norms)
    assert relative(logits(cell, tensors), logits(plain, transformed_tensors(plain))) < 1e-4
