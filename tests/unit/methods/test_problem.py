"""What a rounding sees of a site: fitted groups, blocks of the Hessian and the order of columns."""

from __future__ import annotations

import torch
from small_problems import make_problem

from ptqbench.methods.problem import Problem, diagonal_blocks, ordered, processing_order, restored
from ptqbench.methods.ranges import minmax, search
from ptqbench.numbers.grid import Grid


def test_diagonal_blocks() -> None:
    matrix = torch.arange(36.0).view(6, 6)
    blocks = diagonal_blocks(matrix, 2)
    assert blocks.shape == (3, 2, 2)
    assert all(torch.equal(blocks[g], matrix[2 * g : 2 * g + 2, 2 * g : 2 * g + 2]) for g in range(3))


def test_order_is_stable_and_falling() -> None:
    hessian = torch.diag(torch.tensor([1.0, 3.0, 1.0, 3.0, 2.0]))
    order = processing_order(hessian.diagonal(), True)
    assert order is not None
    assert order.tolist() == [1, 3, 4, 0, 2]
    assert ordered(hessian.diagonal(), order).tolist() == [3, 3, 2, 1, 1]
    assert torch.equal(restored(ordered(hessian, order), order), hessian)


def test_as_they_come_nothing_moves() -> None:
    hessian = torch.diag(torch.arange(5.0))
    assert processing_order(hessian.diagonal(), False) is None
    assert ordered(hessian, None) is restored(hessian, None) is hessian


def test_one_group_is_fitted_as_all_are() -> None:
    def clipped(weight: torch.Tensor, grid: Grid, hessian: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        return search.Search(steps=20, largest_shrink=0.5).bounds(weight, grid, hessian)

    problem = make_problem(5, 16, Grid(2, 4), bounds=clipped)
    scale, zero = problem.fit()
    assert scale.shape == (5, 4)
    for group in range(4):
        one = problem.fit_group(problem.weight[:, 4 * group : 4 * group + 4], group)
        assert torch.equal(one[0], scale[:, group])
        assert torch.equal(one[1], zero[:, group])


def test_fixed_bounds_are_kept() -> None:
    plain = make_problem(3, 8, Grid(3, 4))
    low, high = minmax.Minmax().bounds(plain.grid.grouped(plain.weight), plain.grid, None)
    fixed = Problem(plain.weight, plain.hessian, plain.grid, None, (low / 2, high / 2))
    expected = plain.grid.from_bounds(low / 2, high / 2)
    assert all(torch.equal(a, b) for a, b in zip(fixed.fit(), expected, strict=True))
    one = fixed.fit_group(plain.weight[:, 4:], 1)
    assert torch.equal(one[0], expected[0][:, 1])
    assert not torch.equal(fixed.fit()[0], plain.fit()[0])
