"""LDLQ: GPTQ's codes by another road, and greedy passes that only ever improve."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from reference import ranges as oracle_ranges
from reference import rounding as oracle
from small_problems import make_problem, values

from ptqbench.drive.records import settle
from ptqbench.linalg import product
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods import columns
from ptqbench.methods.problem import Problem, Rounded
from ptqbench.methods.rounding import gptq, ldlq, nearest
from ptqbench.numbers.grid import Grid

GRIDS = [Grid(2, 4), Grid(3, 8), Grid(4, -1), Grid(3, -1, symmetric=True), Grid(2, 8, symmetric=True)]


def solve(problem: Problem, **changes: Any) -> Rounded:
    found = ldlq.Ldlq(**changes).round_site(problem)
    settle([found.record])
    return found


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("passes", [0, 1, 3])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_codes_equal_the_oracle(grid: Grid, passes: int, act_order: bool) -> None:
    problem = make_problem(6, 16, grid)
    weight, hessian = problem.weight.numpy(), problem.hessian.numpy()
    settings = (grid.bits, grid.width(16), grid.symmetric, oracle_ranges.minmax, 0.01, act_order, passes)
    codes, grids = oracle.ldlq(weight, hessian, *settings)
    for block_size in (1, 5, 128):
        found = solve(problem, passes=passes, act_order=act_order, block_size=block_size)
        assert found.codes.tolist() == codes
        assert found.scale.tolist() == [[scale for scale, _ in row] for row in grids]


@pytest.mark.parametrize("damp", [1e-4, 0.01, 0.3])
@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("grid", [*GRIDS, Grid(2, 32), Grid(8, 16)], ids=str)
def test_without_passes_it_is_gptq_code_for_code(grid: Grid, act_order: bool, damp: float) -> None:
    problem = make_problem(24, 96, grid, tokens=60)
    found = solve(problem, passes=0, damp=damp, act_order=act_order, block_size=20)
    expected = gptq.Gptq(damp=damp, act_order=act_order, static_groups=True, block_size=32).round_site(problem)
    settle([expected.record])
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.scale, expected.scale)
    assert torch.equal(found.zero, expected.zero)
    assert found.record["greedy_losses"][0] == pytest.approx(expected.record["error_energy"], rel=1e-9)


@pytest.mark.parametrize("grid", [Grid(2, -1), Grid(2, 16), Grid(3, 32, symmetric=True)], ids=str)
def test_greedy_passes_never_increase_the_loss_and_do_decrease_it(grid: Grid) -> None:
    problem = make_problem(16, 64, grid)
    found = solve(problem, passes=6)
    losses = found.record["greedy_losses"]
    assert len(losses) == 7
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(losses))
    assert losses[1] < losses[0]
    damped = torch.from_numpy(oracle.damped(problem.hessian.numpy(), found.record["damp"]))
    assert losses[-1] == pytest.approx(proxy_loss(problem.weight - values(found, grid), damped).sum().item())


def test_greedy_passes_are_monotone_from_any_start_and_stop_at_a_fixed_point() -> None:
    problem = make_problem(16, 48, Grid(2, -1))
    held = columns.in_order(problem, torch.arange(48))
    codes = torch.randint(0, 4, (48, 16), generator=torch.Generator().manual_seed(0))
    losses, states = [], [codes]
    for _ in range(40):
        losses.append(proxy_loss(problem.weight - ldlq.decode(held, states[-1], problem).T, problem.hessian))
        states.append(ldlq.greedy_pass(held, states[-1], problem.hessian, problem, 4))
    assert all((after <= before * (1 + 1e-12)).all() for before, after in pairwise(losses))
    assert (losses[-1] < 0.5 * losses[0]).all()
    assert torch.equal(states[-1], states[-2])
    assert states[-1].min() >= 0
    assert states[-1].max() <= 3


@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("act_order", [True, False])
def test_white_inputs_give_nearest_rounding(act_order: bool, passes: int) -> None:
    problem = replace(make_problem(8, 32, Grid(3, 8)), hessian=0.2 * torch.eye(32, dtype=torch.float64))
    found = solve(problem, act_order=act_order, passes=passes)
    assert torch.equal(found.codes, nearest.Nearest().round_site(problem).codes)


def test_dead_columns_become_exact_zeros() -> None:
    problem = make_problem(6, 32, Grid(3, 8))
    problem.hessian[4] = 0.0
    problem.hessian[:, 4] = 0.0
    problem.weight[:, 4] = 50.0
    found = solve(problem, passes=2)
    assert found.record["dead_columns"] == 1
    assert (values(found, problem.grid)[:, 4] == 0).all()


def test_what_cannot_be_factored_is_rounded_to_nearest_and_says_so() -> None:
    problem = make_problem(4, 8, Grid(3, 4))
    broken = replace(problem, hessian=-problem.hessian)
    found = solve(broken)
    assert "fallback" in found.record
    assert torch.equal(found.codes, nearest.Nearest().round_site(broken).codes)


def test_products_by_parts_give_the_codes_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(32, 96, Grid(3, 32), tokens=200, dtype=torch.float32)
    for module in (columns, ldlq):
        monkeypatch.setattr(module, "PANEL", 2)
    plain = solve(problem, block_size=16, passes=2)
    monkeypatch.setattr(product, "by_parts", lambda x: True)
    found = solve(problem, block_size=16, passes=2)
    assert (found.codes != plain.codes).float().mean() < 0.01, "ties"
    assert found.record["greedy_losses"] == pytest.approx(plain.record["greedy_losses"], rel=1e-4)


def test_single_precision_agrees_with_double_in_loss() -> None:
    double, single = (make_problem(32, 96, Grid(3, 32), tokens=60, dtype=d) for d in (torch.float64, torch.float32))
    losses = [solve(problem).record["greedy_losses"] for problem in (double, single)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
