"""Formats of floats against brute force over all codes, and against torch's own types."""

from __future__ import annotations

import pytest
import torch
from formats_of_numbers import NAMES, float_grids
from torch import Tensor

from ptqbench.methods.problem import Problem
from ptqbench.methods.ranges.minmax import Minmax
from ptqbench.methods.ranges.mse import Mse
from ptqbench.methods.ranges.search import Search
from ptqbench.numbers.elements import E2M1, E2M3, E3M2, E4M3, Element
from ptqbench.numbers.floats import FloatGrid
from ptqbench.schemes import scale_bytes

GRIDS = float_grids()
E2M1_VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]  # OCP Microscaling 1.0, table 5


def values(element: Element) -> Tensor:
    return torch.tensor(element.values, dtype=torch.float64)


def weight(rows: int = 128, columns: int = 256, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.03 * torch.randn(rows, columns, generator=generator) * torch.logspace(-spread, spread, columns)


def fit(grid: FloatGrid, w: Tensor) -> tuple[Tensor, Tensor]:
    return Problem(w, torch.eye(w.shape[1]), grid, Minmax().bounds).fit()


def rounded(grid: FloatGrid, w: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    codes = grid.encode(grid.grouped(w), scale.unsqueeze(-1), zero.unsqueeze(-1)).to(torch.uint8)
    assert int(codes.max()) < 2**grid.bits
    return grid.decode(codes, scale.unsqueeze(-1), zero.unsqueeze(-1)).flatten(1)


def test_the_config_names_every_format() -> None:
    from pathlib import Path

    import yaml

    schema = yaml.safe_load((Path(__file__).parents[3] / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    named = schema["properties"]["schemes"]["additionalProperties"]["properties"]["number"]["enum"]
    assert sorted(named) == sorted(["integer", *NAMES])


def test_elements_are_those_of_the_standard() -> None:
    assert E2M1.values == [*E2M1_VALUES, *(-value for value in E2M1_VALUES)]
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).double()
    assert torch.equal(every.nan_to_num(0), values(E4M3))
    assert (E2M3.values[31], E2M3.values[1], E3M2.values[31], E3M2.values[1]) == (7.5, 0.125, 28.0, 0.0625)


@pytest.mark.parametrize("element", [E2M1, E2M3, E3M2, E4M3], ids=str)
def test_nearest_is_the_nearest_of_all_and_ties_go_to_the_even_code(element: Element) -> None:
    every = values(element).unique()
    between = torch.cat([(every[1:] + every[:-1]) / 2, every])
    noise = torch.randn(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.cat([between, noise, 10 * noise, 300 * noise, 0.01 * noise])
    found, distance = element.nearest(x), (x[:, None] - every).abs()
    assert torch.equal((found - x).abs(), distance.min(1).values)
    codes = element.code(found).long()
    assert torch.equal(values(element)[codes], found)
    ties = (distance == distance.min(1, keepdim=True).values).sum(1) > 1
    assert ties.sum() >= len(every) - 2
    assert (codes[ties] % 2 == 0).all()


def test_e4m3_is_torchs() -> None:
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    x = (noise * torch.exp(3 * noise.flip(0))).clamp(-448, 448)
    assert torch.equal(E4M3.nearest(x), x.to(torch.float8_e4m3fn).float())


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.NUMBER)
def test_codes_are_the_best_of_all_codes(grid: FloatGrid) -> None:
    w = weight(128, 128)
    scale, zero = fit(grid, w)
    found = rounded(grid, w, scale, zero)
    every = values(grid.ELEMENT).unique()
    steps = grid.grouped(w).double() / scale.double().unsqueeze(-1)
    best = (steps.unsqueeze(-1) - every).abs().amin(-1).flatten(1) * scale.repeat_interleave(grid.width(128), 1)
    torch.testing.assert_close((found - w).abs().double(), best, rtol=1e-5, atol=3e-7)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.NUMBER)
def test_every_code_is_its_own_nearest(grid: FloatGrid) -> None:
    every = values(grid.ELEMENT).unique().float()
    one = torch.ones(())
    codes = grid.encode(every * 2.0, 2 * one, 0 * one).to(torch.uint8)
    assert torch.equal(grid.decode(codes, 2 * one, 0 * one), 2 * every)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.NUMBER)
@pytest.mark.parametrize("range_", [Minmax(), Mse(steps=20), Search()], ids=lambda one: type(one).__name__)
def test_scales_are_as_they_are_stored(grid: FloatGrid, range_: Minmax | Mse | Search) -> None:
    w = weight(spread=3)
    w[3, :128] = 0  # an empty group
    problem = Problem(w, torch.eye(256), grid, range_.bounds)
    scale, zero = problem.fit()
    assert (zero == 0).all()
    assert (scale > 0).all()
    stored = {"nvfp4": e4m3, "mxfp4": e8m0, "mxfp6": e8m0, "mxfp8": e8m0, "fp8_tensor": one, "fp8_block": blocks}
    if grid.NUMBER in stored:
        assert torch.equal(stored[grid.NUMBER](grid, scale), scale)
    assert torch.isfinite(rounded(grid, w, scale, zero)).all()


def e4m3(grid: FloatGrid, scale: Tensor) -> Tensor:
    shared = grid.shared(scale)
    assert shared is not None
    assert 224 < (scale.max() * shared).item() <= 448
    return (scale * shared).to(torch.float8_e4m3fn).float() / shared


def e8m0(grid: FloatGrid, scale: Tensor) -> Tensor:
    return torch.exp2(torch.log2(scale).round().clamp(-127, 127))


def one(grid: FloatGrid, scale: Tensor) -> Tensor:
    return scale[:1, :1].expand_as(scale)


def blocks(grid: FloatGrid, scale: Tensor) -> Tensor:
    return scale[::128].repeat_interleave(128, 0)


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.NUMBER.startswith("mx")], ids=lambda g: g.NUMBER)
def test_mx_scales_are_the_least_that_clip_no_more_than_rounding(grid: FloatGrid) -> None:
    largest = torch.logspace(-3, 3, 2001)
    scale, _ = grid.from_bounds(-largest / 3, largest)
    top = grid.ELEMENT.largest
    half = (top - sorted(set(grid.ELEMENT.values))[-2]) / 2
    assert (largest / scale <= (top + half) * (1 + 1e-6)).all()
    assert (largest / (scale / 2) > (top + half) * (1 - 1e-6)).all()


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.NUMBER)
@pytest.mark.parametrize("range_", [Mse(steps=20), Search()], ids=lambda one: type(one).__name__)
def test_a_search_is_the_best_of_its_candidates(grid: FloatGrid, range_: Mse | Search) -> None:
    w = grid.grouped(weight(8, 256) ** 3 * 1000)
    hessian = torch.eye(w.shape[-1]).expand(w.shape[1], -1, -1)
    _, high = range_.bounds(w, grid, hessian)
    power = range_.norm if isinstance(range_, Mse) else 2.0

    def error(shrink: float | Tensor) -> Tensor:
        scale, zero = (part.unsqueeze(-1) for part in grid.from_bounds(w.amin(-1) * shrink, w.amax(-1) * shrink))
        return (grid.decode(grid.encode(w, scale, zero), scale, zero) - w).abs().double().pow(power).sum(-1)

    steps = [1 - step / range_.steps for step in range(round(range_.largest_shrink * range_.steps))]
    best = torch.stack([error(shrink) for shrink in steps]).amin(0)
    torch.testing.assert_close(error(high / w.amax(-1)), best, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(("name", "bits"), [("nvfp4", 4.5), ("mxfp4", 4.25), ("mxfp6", 6.25), ("mxfp8", 8.25)])
def test_bits_of_a_weight_count_every_scale(name: str, bits: float) -> None:
    grid = next(grid for grid in GRIDS if name == grid.NUMBER)
    m, n = 256, 512
    assert grid.bits + grid.overhead(m, n // grid.group_size) / (m * n) == pytest.approx(bits, abs=3e-4)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.NUMBER)
def test_the_planner_knows_the_bits_of_a_scale(grid: FloatGrid) -> None:
    """But for what whole tensors, or blocks of rows, share."""
    m, groups = 4096, 32
    told = scale_bytes({"number": grid.NUMBER}, 2) * 8 * m * groups
    assert told <= grid.overhead(m, groups) <= told + 32 * groups * (m // 128)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.NUMBER)
def test_an_offset_of_half_a_step_reaches_the_neighbour(grid: FloatGrid) -> None:
    every = values(grid.ELEMENT).unique().float()
    inner, one_ = every[(every > 0) & (every < grid.ELEMENT.largest)], torch.ones(())
    up = grid.decode(grid.encode(inner, one_, 0 * one_, torch.tensor(0.51)), one_, 0 * one_)
    expected = every[torch.searchsorted(every, inner) + 1]
    assert torch.equal(up, expected)
