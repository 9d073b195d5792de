"""GPTAQ's identities: no input error is GPTQ, blocks do not matter, and the asymmetric objective improves."""

from __future__ import annotations

import pytest
import torch
from reference import ranges as oracle_ranges
from reference import rounding as oracle
from small_problems import inputs, make_problem

from ptqbench.methods.problem import Problem
from ptqbench.methods.ranges import minmax
from ptqbench.methods.rounding import gptaq, gptq, nearest
from ptqbench.numbers.grid import Grid

N, M, T = 96, 24, 400
GRID = Grid(3, 32)


def streams() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(N, N, generator=generator, dtype=torch.float64)
    x = torch.randn(T, N, generator=generator, dtype=torch.float64) @ mix
    wanted = x + 0.2 * torch.randn(T, N, generator=generator, dtype=torch.float64) @ mix
    return torch.randn(M, N, generator=generator, dtype=torch.float64), x, wanted


def problem(alpha_cross: bool = True) -> Problem:
    weight, x, wanted = streams()
    cross = (wanted - x).T @ x / T if alpha_cross else torch.zeros(N, N, dtype=torch.float64)
    return Problem(weight, x.T @ x / T, GRID, minmax.Minmax().bounds, cross=cross)


@pytest.mark.parametrize("act_order", [True, False])
def test_without_input_error_it_is_gptq(act_order: bool) -> None:
    plain = gptq.Gptq(damp=0.01, act_order=act_order, static_groups=True, block_size=32).round_site(problem())
    no_cross = gptaq.Gptaq(damp=0.01, act_order=act_order, alpha=1.0, block_size=32).round_site(problem(False))
    no_alpha = gptaq.Gptaq(damp=0.01, act_order=act_order, alpha=0.0, block_size=32).round_site(problem())
    assert torch.equal(no_cross.codes, plain.codes)
    assert torch.equal(no_alpha.codes, plain.codes)


@pytest.mark.parametrize("block_size", [1, 16, 32, 96])
def test_block_size_does_not_matter(block_size: int) -> None:
    whole = gptaq.Gptaq(damp=0.01, act_order=True, alpha=0.25, block_size=N).round_site(problem())
    found = gptaq.Gptaq(damp=0.01, act_order=True, alpha=0.25, block_size=block_size).round_site(problem())
    assert torch.equal(found.codes, whole.codes)


def test_identity_hessian_without_cross_is_nearest() -> None:
    weight, _, _ = streams()
    zero = torch.zeros(N, N, dtype=torch.float64)
    given = Problem(weight, 3.0 * torch.eye(N, dtype=torch.float64), GRID, minmax.Minmax().bounds, cross=zero)
    found = gptaq.Gptaq(damp=0.01, act_order=True, alpha=0.25, block_size=32).round_site(given)
    assert torch.equal(found.codes, nearest.Nearest().round_site(given).codes)


def test_output_error_against_the_float_stream_shrinks() -> None:
    weight, x, wanted = streams()
    target = wanted @ weight.T

    def error(alpha: float) -> float:
        found = gptaq.Gptaq(damp=0.01, act_order=True, alpha=alpha, block_size=32).round_site(problem())
        values = GRID.decode(GRID.grouped(found.codes), found.scale.unsqueeze(-1), found.zero.unsqueeze(-1)).flatten(1)
        return (target - x @ values.T).square().sum().item()

    assert error(1.0) < error(0.25) < error(0.0)


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("grid", [Grid(2, 4), Grid(3, 8), Grid(4, -1)], ids=str)
def test_codes_equal_the_oracle(grid: Grid, act_order: bool) -> None:
    given = make_problem(6, 16, grid)
    x = inputs(16, 64)
    given.cross = (inputs(16, 64, seed=1) - x).T @ x / 640
    found = gptaq.Gptaq(damp=0.01, act_order=act_order, alpha=0.25, block_size=4).round_site(given)
    tensors = (given.weight.numpy(), given.hessian.numpy(), given.cross.numpy())
    codes = oracle.gptaq(*tensors, grid.bits, grid.width(16), oracle_ranges.minmax, 0.01, act_order, 0.25)
    assert found.codes.tolist() == codes
    plain = gptq.Gptq(damp=0.01, act_order=act_order, static_groups=True, block_size=4).round_site(given)
    assert codes != plain.codes.tolist()
