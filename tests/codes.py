"""Quantized linears to pack: rounded ones, with the corners of a grid among them."""

from __future__ import annotations

import torch
from small_problems import make_problem

from ptqbench.quantize.grid import Grid
from ptqbench.quantize.linear import QuantizedLinear
from ptqbench.rounding import gptq


def quantized(m: int, n: int, bits: int, group_size: int, symmetric: bool) -> QuantizedLinear:
    """A random ``[m, n]`` weight, rounded."""
    grid = Grid(bits, group_size, symmetric)
    problem = make_problem(m, n, grid, dtype=torch.float32)
    problem.weight[0] = problem.weight[0].abs() + 0.1  # a zero-point at the end of its range
    problem.weight[1] *= -1e-7  # scales at float16's smallest normal
    rounded = gptq.round_site(problem, **gptq.DEFAULTS)
    codes, zero = rounded.codes.to(torch.uint8), rounded.zero.to(torch.uint8)
    return QuantizedLinear(codes, rounded.scale, zero, bits, symmetric)
