"""Quantized linears to pack: rounded ones, with the corners of a grid among them; and whole packed models."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from small_problems import make_problem
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.formats.checkpoint import write_model
from ptqbench.formats.layout import Layout
from ptqbench.methods.rounding import gptq
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.numbers.grid import Grid, make


def quantized(m: int, n: int, bits: int, group_size: int, symmetric: bool) -> QuantizedLinear:
    """A random ``[m, n]`` weight, rounded."""
    grid = Grid(bits, group_size, symmetric)
    problem = make_problem(m, n, grid, dtype=torch.float32)
    problem.weight[0] = problem.weight[0].abs() + 0.1  # a zero-point at the end of its range
    problem.weight[1] *= -1e-7  # scales at float16's smallest normal
    rounded = gptq.Gptq().round_site(problem)
    codes, zero = rounded.codes.to(torch.uint8), rounded.zero.to(torch.uint8)
    return QuantizedLinear(codes, rounded.scale, zero, bits, symmetric)


def write_packed(source: Path, folder: Path, form: str, layout: Layout, shift: int = 0) -> Path:
    """A model folder whose linears are rounded to nearest and stored in a format; the dense one is the others' twin.

    ``shift`` is added to every zero-point.
    """
    checkpoint, module = Checkpoint(source), import_module(f"ptqbench.formats.{form}")
    grid = make(layout.number, layout.bits, layout.group_size, layout.symmetric)

    def replace(key: str, tensor: Tensor) -> dict[str, Tensor]:
        if not key.endswith("_proj.weight"):
            return {key: tensor}
        values = grid.grouped(tensor.float())
        scale, zero = grid.from_bounds(values.amin(-1), values.amax(-1))
        codes = grid.encode(values, scale.unsqueeze(-1), zero.unsqueeze(-1)).flatten(1)
        zero = (zero + shift).to(torch.uint8)
        linear = QuantizedLinear(codes.to(torch.uint8), scale, zero, grid.bits, grid.symmetric, number=layout.number)
        assert module.refuses(linear, layout) is None
        return module.tensors(key.removesuffix(".weight"), linear, checkpoint.dtype, layout)

    write_model(checkpoint, folder, replace, module.settings(layout, ["lm_head"]), {}, {})
    return folder
