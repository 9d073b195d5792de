"""Small rounding problems whose inputs are correlated, as those of language models are."""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.methods.problem import Bounds, Problem, Rounded
from ptqbench.methods.ranges import minmax
from ptqbench.numbers.grid import Grid

FULL_RANGE = minmax.Minmax().bounds


def inputs(n: int, tokens: int, seed: int = 0) -> Tensor:
    """Correlated inputs with a few large channels, float64 ``[tokens, n]``."""
    generator = torch.Generator().manual_seed(seed)
    rank = max(2, n // 2)
    shared = torch.randn(tokens, rank, generator=generator, dtype=torch.float64)
    mix = torch.randn(rank, n, generator=generator, dtype=torch.float64)
    noise = torch.randn(tokens, n, generator=generator, dtype=torch.float64)
    size = torch.ones(n, dtype=torch.float64)
    size[:: max(1, n // 4)] = 6.0
    return (shared @ mix + 0.5 * noise) * size


def make_problem(
    m: int,
    n: int,
    grid: Grid,
    tokens: int | None = None,
    bounds: Bounds = FULL_RANGE,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    """Normal weights ``[m, n]`` and the second moment of :func:`inputs` (4 n tokens unless told)."""
    x = inputs(n, tokens or 4 * n, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    weight = torch.randn(m, n, generator=generator, dtype=torch.float64)
    return Problem(weight.to(dtype), (x.T @ x / len(x)).to(dtype), grid, bounds)


def values(rounded: Rounded, grid: Grid) -> Tensor:
    """The weight ``[m, n]`` that codes stand for."""
    codes = grid.grouped(rounded.codes)
    return grid.decode(codes, rounded.scale.unsqueeze(-1), rounded.zero.unsqueeze(-1)).flatten(1)
