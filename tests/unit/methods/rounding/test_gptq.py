"""GPTQ: equal to optimal brain surgeon by brute force, its identities, and the traps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from reference import ranges as oracle_ranges
from reference import rounding as oracle
from small_problems import inputs, make_problem, values

from ptqbench.drive.records import settle
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods import columns
from ptqbench.methods.problem import Bounds, Problem, Rounded
from ptqbench.methods.ranges import minmax, search
from ptqbench.methods.rounding import gptq, nearest
from ptqbench.numbers.grid import Grid

GRIDS = [Grid(2, 4), Grid(3, 8), Grid(4, -1), Grid(3, -1, symmetric=True), Grid(2, 8, symmetric=True), Grid(3, 1)]
RANGES: dict[str, tuple[Bounds, oracle_ranges.Range]] = {
    "minmax": (minmax.Minmax().bounds, oracle_ranges.minmax),
    "search": (search.Search().bounds, oracle_ranges.search),
}
ORDERS = {"act_order": (True, True), "static": (False, True), "dynamic": (False, False)}


def solve(problem: Problem, **changes: Any) -> Rounded:
    found = gptq.Gptq(**changes).round_site(problem)
    settle([found.record])
    return found


def loss(rounded: Rounded, problem: Problem) -> float:
    return proxy_loss(problem.weight - values(rounded, problem.grid), problem.hessian).sum().item()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bounds", RANGES)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_codes_and_grids_equal_the_oracle(grid: Grid, bounds: str, order: str) -> None:
    act_order, static_groups = ORDERS[order]
    ours, theirs = RANGES[bounds]
    problem = make_problem(6, 16, grid, bounds=ours)
    found = solve(problem, act_order=act_order, static_groups=static_groups, block_size=8)
    weight, hessian = problem.weight.numpy(), problem.hessian.numpy()
    settings = (grid.bits, grid.width(16), grid.symmetric, theirs, 0.01, act_order, static_groups)
    codes, grids = oracle.gptq(weight, hessian, *settings)
    assert found.codes.tolist() == codes
    assert found.scale.tolist() == [[scale for scale, _ in row] for row in grids]
    assert found.zero.tolist() == [[zero for _, zero in row] for row in grids]
    plain = nearest.Nearest().round_site(problem)
    assert (codes, found.scale.tolist()) != (plain.codes.tolist(), plain.scale.tolist())


def test_dynamic_groups_follow_the_compensated_weights() -> None:
    problem = make_problem(6, 16, Grid(2, 4))
    dynamic, static = (solve(problem, act_order=False, static_groups=static) for static in (False, True))
    assert torch.equal(dynamic.scale[:, 0], static.scale[:, 0])
    assert not torch.equal(dynamic.scale[:, 1:], static.scale[:, 1:])


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_white_inputs_give_nearest_rounding(grid: Grid, act_order: bool) -> None:
    problem = replace(make_problem(8, 32, grid), hessian=5.0 * torch.eye(32, dtype=torch.float64))
    assert torch.equal(solve(problem, act_order=act_order).codes, nearest.Nearest().round_site(problem).codes)


def test_independent_inputs_give_nearest_rounding_per_channel() -> None:
    diagonal = torch.linspace(0.1, 30.0, 32, dtype=torch.float64)
    problem = replace(make_problem(8, 32, Grid(3, -1)), hessian=torch.diag(diagonal))
    assert torch.equal(solve(problem).codes, nearest.Nearest().round_site(problem).codes)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [2, 4])
def test_energy_of_the_errors_is_the_damped_proxy_loss(bits: int, order: str) -> None:
    act_order, static_groups = ORDERS[order]
    problem = make_problem(10, 48, Grid(bits, 16))
    found = solve(problem, act_order=act_order, static_groups=static_groups)
    damped = torch.from_numpy(oracle.damped(problem.hessian.numpy(), 0.01))
    expected = proxy_loss(problem.weight - values(found, problem.grid), damped).sum().item()
    assert found.record["error_energy"] == pytest.approx(expected, rel=1e-10)
    assert found.record["identity_error"] < 1e-10
    assert found.codes.min() == 0
    assert found.codes.max() == 2**bits - 1  # some were clamped


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("group_size", [8, 32, -1])
@pytest.mark.parametrize("block_size", [1, 16, 20, 48, 96, 128])
def test_block_size_does_not_matter(block_size: int, group_size: int, order: str) -> None:
    act_order, static_groups = ORDERS[order]
    problem = make_problem(12, 96, Grid(3, group_size))
    whole, found = (
        solve(problem, act_order=act_order, static_groups=static_groups, block_size=size) for size in (96, block_size)
    )
    assert torch.equal(found.codes, whole.codes)
    assert torch.equal(found.scale, whole.scale)


@pytest.mark.parametrize("factor", [1e-6, 3.7, 1e5])
def test_units_of_the_statistics_do_not_matter(factor: float) -> None:
    problem = make_problem(10, 32, Grid(3, 8))
    scaled = replace(problem, hessian=problem.hessian * factor)
    assert torch.equal(solve(problem).codes, solve(scaled).codes)


def test_act_order_is_undone() -> None:
    """Permuted columns, with the same Hessian permuted alike, must come out as the same codes permuted."""
    problem = make_problem(10, 32, Grid(3, -1))
    shuffle = torch.randperm(32, generator=torch.Generator().manual_seed(5))
    moved = replace(problem, weight=problem.weight[:, shuffle], hessian=problem.hessian[shuffle][:, shuffle])
    assert torch.equal(solve(moved).codes, solve(problem).codes[:, shuffle])
    assert not torch.equal(solve(problem).codes, solve(problem, act_order=False).codes)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tokens", [None, 5])
def test_dead_columns_become_exact_zeros_and_disturb_nothing(order: str, tokens: int | None) -> None:
    act_order, static_groups = ORDERS[order]
    grid = Grid(3, 8)
    problem = make_problem(6, 32, grid, tokens=tokens)
    dead = torch.tensor([0, 3, 17, 31])
    problem.hessian[dead] = 0.0
    problem.hessian[:, dead] = 0.0
    problem.weight[:, dead] = 1e3
    found = solve(problem, act_order=act_order, static_groups=static_groups)
    assert found.record["dead_columns"] == 4
    assert (found.codes[:, dead] == found.zero[:, dead // 8]).all()
    assert (values(found, grid)[:, dead] == 0).all()
    other = replace(problem, weight=problem.weight.index_fill(1, dead, -7.0))
    again = solve(other, act_order=act_order, static_groups=static_groups)
    assert torch.equal(again.codes, found.codes)
    assert torch.equal(again.scale, found.scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_tokens_than_channels(dtype: torch.dtype) -> None:
    problem = make_problem(16, 64, Grid(3, 16), tokens=20, dtype=dtype)
    assert torch.linalg.matrix_rank(problem.hessian.double(), rtol=1e-5) == 20
    found = solve(problem)
    assert "fallback" not in found.record
    assert found.record["damp"] == 0.01
    assert loss(found, problem) < 0.5 * loss(nearest.Nearest().round_site(problem), problem)


def test_duplicated_channels() -> None:
    x = inputs(32, 200)
    x[:, 9] = x[:, 8]
    problem = replace(make_problem(16, 32, Grid(3, -1)), hessian=x.T @ x / 200)
    assert torch.linalg.matrix_rank(problem.hessian) == 31
    found = solve(problem)
    assert torch.isfinite(found.codes).all()
    assert loss(found, problem) < 0.8 * loss(nearest.Nearest().round_site(problem), problem)
    delta = (problem.weight - values(found, problem.grid))[:, 8:10]
    assert delta.sum(1).abs().mean() < delta.abs().sum(1).mean() / 2  # the twin makes up for the error


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "grid", [Grid(2, 16), Grid(3, 16), Grid(3, -1), Grid(4, 32), Grid(2, 16, symmetric=True)], ids=str
)
def test_beats_nearest_rounding_by_far_on_correlated_inputs(grid: Grid, order: str) -> None:
    act_order, static_groups = ORDERS[order]
    problem = make_problem(64, 64, grid, dtype=torch.float32)
    found = solve(problem, act_order=act_order, static_groups=static_groups)
    assert loss(found, problem) < 0.7 * loss(nearest.Nearest().round_site(problem), problem)
    assert found.record["identity_error"] < 1e-4


def test_what_cannot_be_factored_is_rounded_to_nearest_and_says_so() -> None:
    problem = make_problem(4, 8, Grid(3, 4))
    broken = replace(problem, hessian=-problem.hessian)
    found = solve(broken)
    assert found.record["fallback"] == {"kind": "nearest", "words": "H cannot be factored"}
    assert torch.equal(found.codes, nearest.Nearest().round_site(broken).codes)


def test_fixed_ranges_are_not_refitted() -> None:
    plain = make_problem(6, 16, Grid(3, 4))
    low, high = minmax.Minmax().bounds(plain.grid.grouped(plain.weight), plain.grid, None)
    fixed = replace(plain, fixed=(0.7 * low, 0.7 * high), bounds=None)
    found = solve(fixed, act_order=False, static_groups=False)
    assert torch.equal(found.scale, plain.grid.from_bounds(0.7 * low, 0.7 * high)[0])


def test_losses_of_rows_are_those_of_the_codes() -> None:
    """Also where a column is dead and its weight is not 0."""
    problem = make_problem(10, 16, Grid(3, 8))
    problem.hessian[3], problem.hessian[:, 3] = 0, 0
    found = solve(problem)
    assert found.losses is not None
    torch.testing.assert_close(found.losses, proxy_loss(problem.weight - values(found, problem.grid), problem.hessian))


def test_losses_do_not_depend_on_how_many_rows_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(10, 16, Grid(3, 8))
    whole = solve(problem)
    monkeypatch.setattr(columns, "ROWS", 4)
    parts = solve(problem)
    assert whole.losses is not None
    assert parts.losses is not None
    torch.testing.assert_close(parts.losses, whole.losses)
    assert parts.record["error_energy"] == whole.record["error_energy"]
