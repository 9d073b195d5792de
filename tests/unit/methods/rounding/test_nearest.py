"""Nearest rounding needs no data, and rounding its own result changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_problems import make_problem, values

from ptqbench.methods.rounding import nearest
from ptqbench.numbers.grid import Grid


@pytest.mark.parametrize("grid", [Grid(2, 8), Grid(3, -1), Grid(4, 16, symmetric=True)], ids=str)
def test_is_idempotent_on_its_own_grid(grid: Grid) -> None:
    problem = make_problem(6, 32, grid)
    bounds = problem.bounds
    assert bounds is not None
    low_high = bounds(grid.grouped(problem.weight), grid, None)
    found = nearest.Nearest().round_site(problem)
    again = nearest.Nearest().round_site(replace(problem, weight=values(found, grid), fixed=low_high))
    assert torch.equal(again.codes, found.codes)
    assert torch.equal(again.scale, found.scale)


def test_does_not_read_the_inputs() -> None:
    problem = make_problem(6, 32, Grid(3, 8))
    other = replace(problem, hessian=torch.eye(32, dtype=torch.float64))
    assert torch.equal(nearest.Nearest().round_site(problem).codes, nearest.Nearest().round_site(other).codes)
