"""MagR: equal to its oracle, smaller maxima, a lower objective, and nothing at all for a vanishing penalty."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import magr as oracle
from small_problems import make_problem

from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.problem import Problem
from ptqbench.methods.rounding import nearest
from ptqbench.methods.transforms.magr import Magr, largest_eigenvalue, magr, project_l1, shrink_maximum
from ptqbench.numbers.grid import Grid


@settings(max_examples=150, deadline=None)
@given(row=st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=1, max_size=9), alpha=st.floats(1e-3, 20))
def test_prox_equals_the_oracle(row: list[float], alpha: float) -> None:
    found = shrink_maximum(torch.tensor([row], dtype=torch.float64), alpha)[0]
    np.testing.assert_allclose(found.numpy(), oracle.shrink_maximum(row, alpha), rtol=0, atol=1e-11)


def test_projection_is_the_nearest_point_of_the_ball() -> None:
    values = torch.randn(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    projected = project_l1(values, 1.5)
    assert (projected.abs().sum(-1) <= 1.5 + 1e-12).all()
    trials = torch.randn(500, 1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    trials = 1.5 * trials / trials.abs().sum(-1, keepdim=True)  # points of the sphere
    distance = (projected - values).norm(dim=-1)
    assert (distance <= (trials - values).norm(dim=-1).amin(0) + 1e-12).all()
    inside = values / 100
    assert torch.equal(project_l1(inside, 1.5), inside)


def test_a_penalty_below_rounding_changes_nothing() -> None:
    values = torch.tensor([[3000.0, -1.0, 2.0]])
    assert torch.equal(shrink_maximum(values, 1e-6), values)


@pytest.mark.parametrize("width", [4, 16])
def test_iterations_and_the_codes_after_them_equal_the_oracle(width: int) -> None:
    problem = make_problem(5, 16, Grid(3, width))
    weight, hessian = problem.weight, problem.hessian
    largest = largest_eigenvalue(hessian).item()
    expected = torch.from_numpy(oracle.magr(weight.numpy(), hessian.numpy(), largest, width, 0.05, 20))
    found = magr(weight, hessian, width, 0.05, 20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)

    def codes(value: torch.Tensor) -> torch.Tensor:
        return nearest.Nearest().round_site(Problem(value, hessian, problem.grid, problem.bounds)).codes

    assert torch.equal(codes(found), codes(expected))
    assert not torch.equal(codes(found), codes(weight))


@pytest.mark.parametrize("width", [8, 32])
def test_maxima_shrink_and_the_objective_falls_with_iterations(width: int) -> None:
    problem = make_problem(8, 32, Grid(3, width))
    weight, hessian = problem.weight, problem.hessian
    scaled, alpha = hessian / largest_eigenvalue(hessian), 0.05

    def objective(value: torch.Tensor) -> torch.Tensor:
        peaks = value.unflatten(1, (-1, width)).abs().amax(-1).sum(-1)
        return proxy_loss(value - weight, scaled) / 2 + alpha * peaks

    states = [weight] + [magr(weight, hessian, width, alpha, steps) for steps in (1, 5, 50, 500)]
    objectives = [objective(value) for value in states]
    assert all((after <= before + 1e-12).all() for before, after in pairwise(objectives))
    assert (objectives[-1] < objectives[0]).all()
    peaks = [value.abs().amax(-1) for value in (states[-1], weight)]
    assert (peaks[0] < peaks[1]).all()


def test_a_vanishing_penalty_returns_the_weight() -> None:
    problem = make_problem(4, 16, Grid(3, 8))
    torch.testing.assert_close(magr(problem.weight, problem.hessian, 8, 1e-9, 200), problem.weight, rtol=0, atol=1e-6)


def test_penalty_follows_the_granularity() -> None:
    channel, grouped = (make_problem(4, 16, Grid(3, size)) for size in (-1, 8))
    for problem, width, alpha in ((channel, 16, 1e-3), (grouped, 8, 1e-4)):
        expected = magr(problem.weight, problem.hessian, width, alpha, 10)
        assert torch.equal(Magr(iterations=10).reshape(problem), expected)
        assert not torch.equal(Magr(0.1, 10).reshape(problem), expected)


def test_largest_eigenvalue_is_found_from_any_structure() -> None:
    anticorrelated = torch.tensor([[1.0, -0.9], [-0.9, 1.0]], dtype=torch.float64)  # (1, 1) has the least eigenvalue
    assert largest_eigenvalue(anticorrelated).item() == pytest.approx(1.9, rel=0.02)
    hessian = make_problem(2, 48, Grid(3)).hessian
    assert largest_eigenvalue(hessian).item() == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=0.02)
    assert largest_eigenvalue(hessian.float()).dtype == torch.float32
