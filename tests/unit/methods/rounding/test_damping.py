"""Every rounding that damps: units of H do not matter, nor do columns whose input was always 0 (dead ones)."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from reference import ranges as oracle_ranges
from reference import rounding as oracle
from small_problems import make_problem, values

from ptqbench.drive.records import settle
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.members import members
from ptqbench.methods.composition import made
from ptqbench.methods.contracts import Range
from ptqbench.methods.problem import Problem, Rounded
from ptqbench.methods.transforms import salience
from ptqbench.methods.transforms.magr import Magr
from ptqbench.numbers.grid import Grid
from ptqbench.recipe import Member

DAMPING = sorted(name for name, traits in members("rounding").items() if "damp" in traits["DEFAULTS"])
CHOICES = ("act_order", "static_groups")
SETTINGS = [
    (name, dict(zip(own, values, strict=True)))
    for name in DAMPING
    for own in [[key for key in CHOICES if key in members("rounding")[name]["DEFAULTS"]]]
    for values in product((True, False), repeat=len(own))
]
RANGES = {name: found for name in members("ranges") if isinstance(found := made("ranges", Member(name)), Range)}
GRIDS = [Grid(2, 8), Grid(3, -1), Grid(4, 16, symmetric=True)]
SEEDS = range(int(os.environ.get("PTQBENCH_SOAK", "1")))
M, N = 6, 32


def problem(grid: Grid, chosen: str = "minmax", dead: tuple[int, ...] = (), seed: int = 0) -> Problem:
    """Inputs of E[x²] around 1 and, in ``dead`` columns, weights that would ruin any range that they entered."""
    found = make_problem(M, N, grid, bounds=RANGES[chosen].bounds, seed=seed)
    found.hessian /= found.hessian.diagonal().mean()
    noise = torch.randn(N, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found.cross = 0.1 * noise @ found.hessian
    for column in dead:
        found.hessian[column], found.hessian[:, column], found.cross[:, column] = 0.0, 0.0, 0.0
        found.weight[:, column] = 1e3
    return found


def scaled(given: Problem, factor: float) -> Problem:
    assert given.cross is not None
    return replace(given, hessian=factor * given.hessian, cross=factor * given.cross)


def solve(name: str, given: Problem, settings: dict[str, Any]) -> Rounded:
    found: Rounded = made("rounding", Member(name, settings)).round_site(given)
    settle([found.record])
    return found


def assert_equal(found: Rounded, expected: Rounded, columns: int = N) -> None:
    groups = found.scale.shape[1] * columns // found.codes.shape[1] or 1
    assert torch.equal(found.codes[:, :columns], expected.codes)
    assert torch.equal(found.scale[:, :groups], expected.scale)
    assert torch.equal(found.zero[:, :groups], expected.zero)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_units_do_not_matter_with_or_without_dead_columns(
    name: str, settings: dict[str, Any], grid: Grid, seed: int
) -> None:
    for chosen, dead in product(RANGES, [(), (5,), (0, 3, 8, 9, 10, 11, 12, 13, 14, 15, 31)]):
        given = problem(grid, chosen, dead, seed)
        expected = solve(name, given, settings)
        assert expected.record["damp"] == 0.01
        assert expected.record["dead_columns"] == len(dead)
        for factor in (1e-8, 1e-4, 0.37, 1e4, 1e8):
            found = solve(name, scaled(given, factor), settings)
            assert_equal(found, expected)
            assert found.record["damp"] == 0.01, "what was asked, and what was used"


@pytest.mark.parametrize("factor", [1e-8, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_appended_dead_columns_leave_the_codes_of_live_ones(
    name: str, settings: dict[str, Any], grid: Grid, factor: float
) -> None:
    more = grid.width(N)  # a whole group; per channel as many columns as there are
    for chosen in RANGES:
        given = scaled(problem(grid, chosen), factor)
        assert given.cross is not None
        wide = replace(
            given,
            weight=torch.nn.functional.pad(given.weight, (0, more), value=1e3),
            hessian=torch.nn.functional.pad(given.hessian, (0, more, 0, more)),
            cross=torch.nn.functional.pad(given.cross, (0, more, 0, more)),
        )
        assert_equal(solve(name, wide, settings), solve(name, given, settings))


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("name", DAMPING)
def test_codes_and_loss_with_dead_columns_are_the_oracles(name: str, act_order: bool, factor: float) -> None:
    dead, grid = (1, 4, 5, 30), Grid(3, 8)
    given = scaled(problem(grid, dead=dead), factor)
    assert given.cross is not None
    found = solve(name, given, {"act_order": act_order})
    weight, hessian = given.weight.clone(), given.hessian.numpy()
    weight[:, list(dead)] = 0.0
    least = oracle_ranges.minmax
    calls = {
        "gptq": lambda: oracle.gptq(weight.numpy(), hessian, 3, 8, False, least, 0.01, act_order, True)[0],
        "ldlq": lambda: oracle.ldlq(weight.numpy(), hessian, 3, 8, False, least, 0.01, act_order, 1)[0],
        "gptaq": lambda: oracle.gptaq(weight.numpy(), hessian, given.cross.numpy(), 3, 8, least, 0.01, act_order, 0.25),
    }
    codes = torch.tensor(calls[name](), dtype=torch.uint8)
    assert torch.equal(found.codes, codes)
    live = [column for column in range(N) if column not in dead]
    delta = (weight - values(found, grid))[:, live]
    brute = sum(
        float(row[i] * given.hessian[live[i], live[j]] * row[j])
        for row in delta
        for i in range(len(live))
        for j in range(len(live))
    )
    if found.losses is not None:
        assert found.losses.sum().item() == pytest.approx(brute, rel=1e-9)
    assert proxy_loss(given.weight - values(found, grid), given.hessian).sum().item() == pytest.approx(brute, rel=1e-9)


@pytest.mark.parametrize("group_size", [8, -1])
def test_magr_does_not_see_dead_columns(group_size: int) -> None:
    dead = (2, 3, 20)
    loud, quiet = problem(Grid(3, group_size), dead=dead), problem(Grid(3, group_size), dead=dead)
    quiet.weight[:, list(dead)] = 0.0
    found = Magr(iterations=50).reshape(loud)
    assert torch.equal(found, Magr(iterations=50).reshape(quiet))
    assert (found[:, list(dead)] == 0).all()


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("duo", [True, False])
def test_saliences_neither_depend_on_units_nor_on_dead_channels(duo: bool, ratio: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mean, size = torch.rand(N, generator=generator) + 0.1, torch.rand(N, generator=generator)
    expected = salience.candidate(mean, size if duo else None, ratio)
    for factor in (1e-8, 1e-4, 1e4):
        torch.testing.assert_close(salience.candidate(factor * mean, size if duo else None, ratio), expected)
        wide = [torch.nn.functional.pad(x, (0, 3)) for x in (factor * mean, size)]
        found = salience.candidate(wide[0], wide[1] if duo else None, ratio)
        torch.testing.assert_close(found, torch.nn.functional.pad(expected, (0, 3), value=1.0))
