"""The differentiable grid has the real grid's values, and learned members never end worse than nearest rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_cell, make_model, write_statistics

from ptqbench.kernels.fake import soft_grid
from ptqbench.linalg.basis import MODEL
from ptqbench.methods.contracts import Learner
from ptqbench.methods.problem import Problem
from ptqbench.methods.ranges import learned, minmax
from ptqbench.methods.rounding import nearest, signround
from ptqbench.methods.state import BlockState
from ptqbench.methods.trained import Start, Trained, full_range
from ptqbench.methods.training import descent
from ptqbench.methods.training.descent import resplit, soft_quantize, total_loss
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import BlockInput, run_block
from ptqbench.numbers.grid import Grid

GRIDS = [Grid(2, 16), Grid(3), Grid(4, 32, symmetric=True)]


def weight(rows: int = 12, columns: int = 64) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grid", GRIDS)
def test_soft_quantize_is_nearest_rounding_on_the_full_range(grid: Grid) -> None:
    w = weight()
    plain = nearest.Nearest().round_site(Problem(w, torch.eye(64), grid, minmax.Minmax().bounds))
    values = grid.decode(grid.grouped(plain.codes), plain.scale.unsqueeze(-1), plain.zero.unsqueeze(-1)).flatten(1)
    assert torch.equal(soft_quantize(w, full_range(w, grid), grid), values)


@pytest.mark.parametrize("grid", GRIDS)
def test_soft_grid_has_gradients_and_exact_values(grid: Grid) -> None:
    low, high = (end.requires_grad_() for end in full_range(weight(), grid))
    scale, zero = soft_grid(low, high, grid)
    exact = grid.from_bounds(low.detach(), high.detach())
    assert torch.equal(scale, exact[0])
    assert torch.equal(zero, exact[1])
    soft_quantize(weight(), (low, high), grid).square().sum().backward()
    assert low.grad is not None
    assert (low.grad.abs() + high.grad.abs()).min() > 0


def started(state: BlockState, grid: Grid) -> Start:
    """Training from the full range on, in the model's own basis."""
    weights = {name: state.weight(name) for site in state.sites for name in site.linears}
    ends = {name: full_range(weight, grid) for name, weight in weights.items()}
    return Start(weights, dict.fromkeys(weights, MODEL), ends)


def stream(tmp_path: Path) -> tuple[Any, Any, list[BlockInput], list[torch.Tensor]]:
    path = make_model(tmp_path / "model")
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, Grid(2, 32))
    skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
    assert cell.tokens is not None
    inputs = skeleton.inputs(cell.tokens, 3)
    state = cell.state(0)
    block = skeleton.block(0, state.tensors)
    return block, state, inputs, list(run_block(block, inputs))


def trained(learner: Learner, given: Any, grid: Grid) -> Trained:
    """What is learned of a :func:`stream`."""
    block, state, inputs, targets = given
    return learner.learn(block, started(state, grid), inputs, targets, grid)


def test_resplit_gives_the_same_outputs(tmp_path: Path) -> None:
    block, _, inputs, targets = stream(tmp_path)
    items, outputs = resplit(inputs, targets, 2)
    assert [len(item.hidden) for item in items] == [2, 1, 2, 1]
    for found, expected in zip(run_block(block, items), outputs, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bits", [2, 3])
def test_learned_clipping_beats_the_full_range(tmp_path: Path, bits: int) -> None:
    block, state, inputs, targets = stream(tmp_path)
    grid = Grid(bits, 32)
    found = trained(
        learned.Learned(epochs=8, learning_rate=0.02, batch_size=2, seed=0), (block, state, inputs, targets), grid
    )
    linears = [linear for site in state.sites for linear in site.linears]
    full = {name: soft_quantize(state.weight(name), full_range(state.weight(name), grid), grid) for name in linears}
    kept = {name: soft_quantize(state.weight(name), found.bounds[name], grid) for name in linears}
    assert total_loss(block, kept, inputs, targets) < total_loss(block, full, inputs, targets)


@pytest.mark.parametrize(("epochs", "looks"), [(3, 3), (25, 5)])
def test_looks_at_all_sequences_are_few_and_in_the_batches_that_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, looks: int
) -> None:
    block, state, inputs, targets = stream(tmp_path)
    grid, seen = Grid(2, 32), []

    def watched(*args: Any) -> float:
        seen.append([len(item.hidden) for item in args[2]])
        return total_loss(*args)

    for module in (descent, learned):
        monkeypatch.setattr(module, "total_loss", watched)
    trained(
        learned.Learned(epochs=epochs, learning_rate=0.0, batch_size=2, seed=0), (block, state, inputs, targets), grid
    )
    assert seen == [[3, 3]] * (2 + looks)  # of the full range, of the start, and along the way


def test_the_total_loss_is_of_sequences_whatever_their_batches(tmp_path: Path) -> None:
    block, state, inputs, targets = stream(tmp_path)
    weights = {name: 0.9 * state.weight(name) for site in state.sites for name in site.linears}
    whole = total_loss(block, weights, inputs, targets)
    assert whole > 0
    assert total_loss(block, weights, *resplit(inputs, targets, 2)) == pytest.approx(whole, rel=1e-5)


def test_clipping_that_does_not_help_keeps_the_full_range(tmp_path: Path) -> None:
    block, state, inputs, targets = stream(tmp_path)
    grid = Grid(8, 32)
    found = trained(
        learned.Learned(epochs=0, learning_rate=0.0, batch_size=3, seed=0), (block, state, inputs, targets), grid
    )
    assert found.record["kept"] is False
    assert all(
        torch.equal(a, b)
        for name in found.bounds
        for a, b in zip(found.bounds[name], full_range(state.weight(name), grid), strict=True)
    )


def test_signround_starts_at_nearest_rounding_and_improves(tmp_path: Path) -> None:
    given = stream(tmp_path)
    state = given[1]
    grid = Grid(2, 32)
    none = trained(signround.Signround(iterations=0, batch_size=3, seed=0), given, grid)
    site = state.sites[0]
    w = state.stacked(site)

    def rounded(result: Any) -> Any:
        low, high = (torch.cat([result.bounds[name][side] for name in site.linears]) for side in (0, 1))
        offset = torch.cat([result.offset[name] for name in site.linears])
        problem = Problem(w, torch.eye(w.shape[1]), grid, None, (low, high), offset=offset)
        return signround.Signround(iterations=0, batch_size=1, seed=0).round_site(problem)

    plain = nearest.Nearest().round_site(Problem(w, torch.eye(w.shape[1]), grid, minmax.Minmax().bounds))
    start = rounded(none)
    assert torch.equal(start.codes, plain.codes)
    assert torch.equal(start.scale, plain.scale)
    found = trained(signround.Signround(iterations=60, batch_size=3, seed=0), given, grid)
    assert found.record["learned_loss"] < 0.9 * found.record["nearest_loss"]
    assert found.offset is not None
    assert max(offset.abs().max().item() for offset in found.offset.values()) <= 0.5
    same_grid = Problem(
        w,
        torch.eye(w.shape[1]),
        grid,
        None,
        (torch.cat([found.bounds[n][0] for n in site.linears]), torch.cat([found.bounds[n][1] for n in site.linears])),
    )
    assert (rounded(found).codes.int() - nearest.Nearest().round_site(same_grid).codes.int()).abs().max() <= 1
