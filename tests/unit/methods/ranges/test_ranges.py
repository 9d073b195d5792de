"""Every range equals its oracle, and the searches never lose to the full range in the loss that they search."""

from __future__ import annotations

import pytest
import torch
from reference import ranges as oracle
from reference import rounding as reference
from small_problems import make_problem, values

from ptqbench.methods.problem import Bounds, diagonal_blocks
from ptqbench.methods.ranges import minmax, mse, rms, search
from ptqbench.methods.rounding import nearest
from ptqbench.numbers.grid import Grid

RANGES: dict[str, tuple[Bounds, oracle.Range]] = {
    "minmax": (minmax.Minmax().bounds, oracle.minmax),
    "mse": (mse.Mse().bounds, oracle.mse),
    "search": (search.Search().bounds, oracle.search),
    "rms": (rms.Rms(2.4, "integer").bounds, oracle.rms),
}
GRIDS = [Grid(2, 4), Grid(3, 8), Grid(4, -1, symmetric=True), Grid(2, 8, symmetric=True), Grid(3, 1)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", RANGES)
def test_grid_and_nearest_codes_equal_the_oracle(name: str, grid: Grid) -> None:
    bounds, expected_bounds = RANGES[name]
    problem = make_problem(6, 16, grid, bounds=bounds)
    problem.weight[0] = problem.weight[0].abs() + 1.0  # an all-positive row
    problem.weight[1] = 0.0
    problem.weight[2, :8] = -0.3
    found = nearest.Nearest().round_site(problem)
    codes, grids = reference.nearest(
        problem.weight.numpy(), problem.hessian.numpy(), grid.bits, grid.width(16), grid.symmetric, expected_bounds
    )
    assert found.scale.tolist() == [[scale for scale, _ in row] for row in grids]
    assert found.zero.tolist() == [[zero for _, zero in row] for row in grids]
    assert found.codes.tolist() == codes


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_mse_never_loses_to_the_full_range_in_its_norm(bits: int, symmetric: bool) -> None:
    grid = Grid(bits, 16, symmetric)
    losses = []
    for name in ("mse", "minmax"):
        problem = make_problem(20, 64, grid, bounds=RANGES[name][0])
        error = grid.grouped(values(nearest.Nearest().round_site(problem), grid) - problem.weight)
        losses.append(error.abs().pow(2.4).sum(-1))
    assert (losses[0] <= losses[1]).all()
    assert losses[0].sum() < 0.97 * losses[1].sum()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_search_never_loses_to_the_full_range_in_output_error(bits: int, symmetric: bool) -> None:
    grid = Grid(bits, 16, symmetric)
    losses = []
    for name in ("search", "minmax"):
        problem = make_problem(20, 64, grid, bounds=RANGES[name][0])
        error = grid.grouped(values(nearest.Nearest().round_site(problem), grid) - problem.weight)
        losses.append(torch.einsum("mgi,gij,mgj->mg", error, diagonal_blocks(problem.hessian, 16), error))
    assert (losses[0] <= losses[1] * (1 + 1e-12)).all()
    assert losses[0].sum() < 0.97 * losses[1].sum()


def test_search_clips_the_two_ends_of_an_asymmetric_group_alike() -> None:
    """A symmetric clip of [-1, 4] to ±2 would leave the lower end as it is."""
    grid = Grid(2, -1)
    weight = torch.cat([torch.linspace(-1, 1, 63), torch.tensor([4.0])]).double()
    hessian = torch.eye(64, dtype=torch.float64)
    hessian[-1, -1] = 1e-6  # an outlier that no input excites
    low, high = search.Search().bounds(weight.view(1, 1, 64), grid, hessian.unsqueeze(0))
    assert high.item() < 4.0
    assert low.item() / -1.0 == pytest.approx(high.item() / 4.0)


def test_rms_is_a_multiple_of_the_root_mean_square() -> None:
    weight = torch.tensor([[[3.0, -4.0], [0.0, 0.0]]])
    low, high = rms.Rms(reach=2.0, zero="integer").bounds(weight, Grid(4, 2), None)
    assert high[0, 0].item() == pytest.approx(2.0 * (12.5**0.5))
    assert torch.equal(low, -high)
    assert high[0, 1].item() == 0.0


@pytest.mark.parametrize(("bits", "reach", "error"), [(2, 1.4935, 0.11885), (3, 2.0510, 0.03744), (4, 2.5139, 0.01154)])
def test_normal_reach_is_that_of_the_best_uniform_quantizer(bits: int, reach: float, error: float) -> None:
    """Max, Quantizing for minimum distortion, 1960, table II (equally spaced levels)."""
    assert rms.normal_reach(Grid(bits).levels) == pytest.approx(reach, abs=2e-3)
    assert rms.normal_error(reach, Grid(bits).levels) == pytest.approx(error, rel=2e-3)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rms_by_default_loses_to_no_other_reach_on_normal_weights(bits: int) -> None:
    weight = torch.randn(4, 1, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = Grid(bits, half_integer=True)

    def error(reach: float | None) -> float:
        scale, zero = grid.from_bounds(*rms.Rms(reach, "half_integer").bounds(weight, grid, None))
        codes = grid.encode(weight, scale.unsqueeze(-1), zero.unsqueeze(-1))
        return (grid.decode(codes, scale.unsqueeze(-1), zero.unsqueeze(-1)) - weight).square().mean().item()

    best = rms.normal_reach(Grid(bits).levels)
    assert error(None) <= 1.01 * min(error(factor * best) for factor in (0.8, 0.9, 1.1, 1.25))
    assert error(None) < error(0.7 * best)
