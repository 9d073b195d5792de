"""The grid: equal to the scalar oracle, idempotent, within half a step, and safe on every kind of row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import grid as oracle

from ptqbench.methods.ranges import minmax, mse
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import LARGEST_SCALE, SMALLEST_SCALE, Grid, scheme_grid, storage_scale

BITS = [2, 3, 4, 8]
EDGE_ROWS = {
    "all zero": [0.0] * 8,
    "all positive": [0.5, 0.75, 1.0, 1.25, 2.0, 0.3, 0.9, 1.7],
    "all negative": [-0.5, -0.75, -1.0, -1.25, -2.0, -0.3, -0.9, -1.7],
    "constant": [0.37] * 8,
    "constant negative": [-0.37] * 8,
    "far from zero": [100.0, 100.5, 101.0, 100.25, 100.1, 100.9, 100.4, 100.6],
    "one outlier": [0.01, -0.02, 0.015, 64.0, 0.0, -0.01, 0.02, 0.005],
    "tiny": [1e-9, -1e-9, 2e-9, 0.0, 3e-9, -2e-9, 1e-10, 5e-9],
}
rows = st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=1, max_size=12)


def fit(row: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    return grid.from_bounds(row.amin(-1, keepdim=True), row.amax(-1, keepdim=True))


@settings(max_examples=150, deadline=None)
@given(row=rows, bits=st.integers(2, 8), symmetric=st.booleans())
def test_fit_and_codes_equal_the_oracle(row: list[float], bits: int, symmetric: bool) -> None:
    grid, values = Grid(bits, -1, symmetric), torch.tensor(row, dtype=torch.float64)
    scale, zero = fit(values, grid)
    expected = oracle.fit(min(row), max(row), bits, symmetric)
    assert (scale.item(), zero.item()) == expected
    assert grid.encode(values, scale, zero).tolist() == [oracle.encode(x, *expected, bits) for x in row]


@pytest.mark.parametrize("zero", [1, 2, 5, 6])
def test_ties_go_to_even_before_the_zero_is_added(zero: int) -> None:
    grid, scale = Grid(3), 0.25
    halves = torch.tensor([(k + 0.5) * scale for k in range(-6, 6)], dtype=torch.float64)
    found = grid.encode(halves, torch.tensor(scale), torch.tensor(float(zero)))
    assert found.tolist() == [oracle.encode(x, scale, zero, 3) for x in halves.tolist()]
    assert found.tolist() != [min(max(round(x / scale + zero), 0), 7) for x in halves.tolist()] or zero % 2 == 0


@settings(max_examples=100, deadline=None)
@given(row=rows, bits=st.integers(2, 8), symmetric=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_idempotent_and_within_half_a_step(row: list[float], bits: int, symmetric: bool, dtype: torch.dtype) -> None:
    grid, values = Grid(bits, -1, symmetric), torch.tensor(row, dtype=dtype)
    scale, zero = fit(values, grid)
    codes = grid.encode(values, scale, zero)
    decoded = grid.decode(codes, scale, zero)
    assert torch.equal(grid.encode(decoded, scale, zero), codes)
    ends = grid.decode(torch.tensor([0.0, grid.q_max], dtype=dtype), scale, zero)
    inside = values.clamp(ends[0], ends[1])
    assert ((decoded - inside).abs() <= scale / 2 * (1 + 1e-5)).all()
    cut_off = scale * (0.5 + grid.q_max * 2.0**-8)  # the zero-point's rounding, and the scale's to 8 bits
    assert ((inside - values).abs() <= cut_off * (1 + 1e-5)).all()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("row", EDGE_ROWS.values(), ids=EDGE_ROWS.keys())
def test_edge_rows(row: list[float], bits: int, symmetric: bool) -> None:
    grid, values = Grid(bits, -1, symmetric), torch.tensor([row])
    scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(values.amin(-1), values.amax(-1)))
    codes = grid.encode(values, scale, zero)
    decoded = grid.decode(codes, scale, zero)
    assert torch.isfinite(decoded).all()
    assert 0 <= zero.item() <= grid.q_max
    assert zero.item() == int(zero.item())
    assert set(codes.flatten().tolist()) <= set(range(grid.q_max + 1))
    assert grid.decode(grid.encode(torch.zeros(1, 1), scale, zero), scale, zero).item() == 0.0
    assert (decoded - values).abs().max() <= scale.item() * (0.5 + grid.q_max * 2.0**-8) * (1 + 1e-5)


@pytest.mark.parametrize(("name", "zero"), [("all positive", 0), ("all negative", 15)])
def test_a_row_of_one_sign_spends_every_code_on_it(name: str, zero: int) -> None:
    values = torch.tensor(EDGE_ROWS[name])
    assert fit(values, Grid(4))[1].item() == zero


def test_a_zero_point_stays_a_code_where_the_stored_scale_is_smaller_than_the_range_asked_for() -> None:
    low = -255 * 1.0038 * 2.0**-6  # 1.0038 is stored as 1: the zero-point would be 256
    scale, zero = fit(torch.tensor([low, low / 2], dtype=torch.float64), Grid(8))
    assert scale.item() == 2.0**-6
    assert round(-low / scale.item()) == 256
    assert zero.item() == 255


def test_all_zero_rows_stay_zero() -> None:
    for grid in (Grid(2), Grid(4, symmetric=True)):
        scale, zero = fit(torch.zeros(4), grid)
        assert grid.decode(grid.encode(torch.zeros(4), scale, zero), scale, zero).tolist() == [0.0] * 4
        assert scale.item() > 0


def test_symmetric_range_is_mirrored_whatever_the_sign() -> None:
    """GPTQ's own quantizer mirrors only rows with negative values, and clips half the range of the others."""
    positive, mixed = torch.tensor([0.1, 0.5, 2.0]), torch.tensor([-2.0, 0.1, 0.5])
    for bits in BITS:
        grid = Grid(bits, -1, True)
        assert fit(positive, grid)[0].equal(fit(mixed, grid)[0])
        assert fit(positive, grid)[1].item() == 2 ** (bits - 1)


def test_two_bit_symmetric_reaches_its_lowest_code_only_with_a_narrower_range() -> None:
    """The full range ends half a step above the lowest code: in practice such a grid has three values."""
    grid, weight = Grid(2, -1, True), torch.linspace(-1.0, 1.0, 33).view(1, 1, 33)
    scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(*minmax.Minmax().bounds(weight, grid, None)))
    codes = grid.encode(weight, scale, zero)
    assert set(codes.flatten().tolist()) == {1, 2, 3}
    assert (grid.decode(codes, scale, zero) - weight).abs().max() <= scale.item() / 2
    scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(*mse.Mse().bounds(weight, grid, None)))
    assert set(grid.encode(weight, scale, zero).flatten().tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("reach", [1e-12, 1e-8, 1e-6])
def test_scales_below_float16_are_raised_to_its_smallest_normal(reach: float) -> None:
    values = torch.tensor([-reach, reach / 3, reach])
    scale, zero = fit(values, Grid(2))
    assert scale.item() == SMALLEST_SCALE
    half = scale.half()
    assert half.item() >= torch.finfo(torch.float16).tiny
    assert torch.isfinite((values.half() + half * zero.half()) / half).all()  # what repacking computes


@settings(max_examples=100, deadline=None)
@given(x=st.floats(1e-12, 1e9))
def test_stored_scales_are_bfloat16_and_float16_at_once(x: float) -> None:
    scale = torch.tensor([x], dtype=torch.float64)
    stored = storage_scale(scale)
    assert stored.dtype == torch.float64
    assert torch.equal(stored.bfloat16().double(), stored)
    assert torch.equal(stored.half().double(), stored)
    expected = min(max(x, SMALLEST_SCALE), LARGEST_SCALE)
    assert stored.item() == pytest.approx(expected, rel=2**-8)


def test_groups_of_one_column() -> None:
    grid = Grid(3, 1)
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    groups = grid.grouped(weight)
    assert groups.shape == (5, 7, 1)
    scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(groups.amin(-1), groups.amax(-1)))
    decoded = grid.decode(grid.encode(groups, scale, zero), scale, zero).flatten(1)
    assert ((decoded - weight).abs() <= weight.abs() * 2**-8).all()


def test_a_group_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="48 does not divide 64"):
        Grid(4, 48).grouped(torch.zeros(2, 64))
    assert Grid(4, -1).grouped(torch.zeros(2, 64)).shape == (2, 1, 64)


@settings(max_examples=100, deadline=None)
@given(row=rows, bits=st.integers(2, 8))
def test_half_integer_grid_is_quips(row: list[float], bits: int) -> None:
    grid, values = Grid(bits, half_integer=True), torch.tensor(row, dtype=torch.float64)
    scale, zero = fit(values, grid)
    assert zero.item() == grid.q_max / 2
    codes = grid.encode(values, scale, zero)
    distance = [
        abs(oracle.quip_value(code, scale.item(), bits) - x) for code, x in zip(codes.tolist(), row, strict=True)
    ]
    nearest = [abs(oracle.quip_value(oracle.quip_code(x, scale.item(), bits), scale.item(), bits) - x) for x in row]
    assert distance == pytest.approx(nearest, rel=1e-9, abs=1e-12)  # codes may differ where two are equally near
    decoded = [oracle.quip_value(code, scale.item(), bits) for code in codes.tolist()]
    assert grid.decode(codes, scale, zero).tolist() == pytest.approx(decoded, rel=1e-12)


def test_half_integer_levels_are_symmetric_where_the_integer_ones_are_lopsided() -> None:
    ends = torch.tensor([-2.4, 2.4])
    levels = {}
    for half_integer in (True, False):
        grid = Grid(2, half_integer=half_integer)
        levels[half_integer] = grid.decode(torch.arange(4.0), *fit(ends, grid))
    assert torch.equal(levels[True], -levels[True].flip(0))
    assert levels[False][-1] == 2 * -levels[False][0]


def test_the_grid_of_a_scheme() -> None:
    scheme = {"group_size": 32, "symmetric": False}
    recipe = normalize("x", {}).as_json()
    assert scheme_grid({**scheme, "bits": 3}, recipe) == Grid(3, 32)
    assert scheme_grid({**scheme, "bits": "mixed", "choices": [2, 5, 3], "budget": 3}, recipe) == Grid(5, 32)
