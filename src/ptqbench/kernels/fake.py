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
    made of, and the weight (float32, or bfloat16 as :func:`narrow` makes it) gets none. On a GPU bfloat16, elsewhere
    the scale's dtype.
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


def narrow(weight: Tensor) -> Tensor:
    """The weight in bfloat16 where that holds all of it, as a checkpoint's own: half of what every step reads."""
    half = weight.to(torch.bfloat16)
    return half if torch.equal(half.to(weight.dtype), weight) else weight


def soft_grid(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scale and zero with exactly the values of :meth:`Grid.from_bounds`, differentiable in both ends.

    Neither the rounding of the scale to its storage type nor that of the zero is seen by gradients.
    """
    if low.is_cuda and low.dtype == torch.float32:
        found: tuple[Tensor, Tensor] = SoftGrid.apply(low, high, grid)
        return found
    return soft_grid_plain(low, high, grid)


def soft_grid_plain(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The twin of the Triton kernels, whose gradients are autograd's."""
    scale, zero = grid.from_bounds(low.detach(), high.detach())
    centred = grid.symmetric or grid.half_integer
    span = (2 * torch.maximum(-low, high) if centred else high - low) / grid.q_max
    scale = scale + (span - span.detach())
    if not centred:
        soft = -low / scale
        zero = zero + (soft - soft.detach())
    return scale, zero


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


class SoftGrid(torch.autograd.Function):
    """The Triton kernels: one launch each way instead of some forty."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Scale and zero."""
        from ptqbench.kernels.fake_triton import launch_grid

        scale, zero = launch_grid(low, high, grid)
        ctx.grid = grid
        ctx.save_for_backward(low, high, scale)
        return scale, zero

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both ends."""
        from ptqbench.kernels.fake_triton import launch_grid_backward

        low, high, scale = ctx.saved_tensors
        return *launch_grid_backward(gradients[0], gradients[1], low, high, scale, ctx.grid), None
