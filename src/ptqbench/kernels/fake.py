"""Fake quantization with straight-through gradients: what training does to every weight at every step.

CUDA tensors go to Triton kernels that read the weight once forward and once backward, and write bfloat16, in which the
block computes; all others to their plain-torch twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.quantize.grid import Grid

WIDEST = 1024  # columns of a group that a program of the kernel holds


def fake_quantize(weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid) -> Tensor:
    """``weight [m, n]`` on the grid of ``scale`` and ``zero`` ``[m, groups]``; ``offset [m, n]`` shifts the rounding.

    Gradients go to scale, zero and offset as if rounding were the identity; clamped codes pass none to what they were
    made of, and the weight gets none. On a GPU bfloat16, elsewhere the weight's dtype.
    """
    if weight.is_cuda and grid.width(weight.shape[1]) <= WIDEST:
        found: Tensor = FakeQuantize.apply(weight, scale, zero, offset, grid, torch.bfloat16)
        return found
    return fake_quantize_plain(weight, scale, zero, offset, grid)


def fake_quantize_plain(weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid) -> Tensor:
    """The twin of the Triton kernels, whose gradients are autograd's."""
    scale, zero = scale.unsqueeze(-1), zero.unsqueeze(-1)
    steps = grid.grouped(weight) / scale
    codes = grid.codes(steps if offset is None else steps + grid.grouped(offset), zero, ste_round)
    return (scale * (codes - zero)).flatten(1)


def ste_round(x: Tensor) -> Tensor:
    """Round with the identity's gradient."""
    return x + (torch.round(x) - x).detach()


class FakeQuantize(torch.autograd.Function):
    """The Triton kernels; nothing is saved but the inputs."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid, dtype: torch.dtype
    ) -> Tensor:
        """The values, in ``dtype``."""
        from ptqbench.kernels.fake_triton import launch

        ctx.grid = grid
        ctx.save_for_backward(weight, scale, zero, offset)
        return launch(weight, scale, zero, offset, grid, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of scale, zero and, where there is one, offset."""
        from ptqbench.kernels.fake_triton import launch_backward

        weight, scale, zero, offset = ctx.saved_tensors
        return None, *launch_backward(gradients[0], weight, scale, zero, offset, ctx.grid), None, None
