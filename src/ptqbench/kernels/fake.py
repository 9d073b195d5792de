"""Fake quantization with straight-through gradients: what training does to every weight at every step.

CUDA tensors go to Triton kernels that read the weight once forward and once backward, and write bfloat16, in which the
block computes; all others to their plain-torch twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from ptqbench.numbers.grid import Grid

WIDEST = 1024  # columns of a group that a program of the kernel holds


def fake_quantize(
    weights: Sequence[Tensor], scale: Tensor, zero: Tensor, offsets: Sequence[Tensor] | None, grid: Grid
) -> list[Tensor]:
    """Each weight ``[m, n]`` on its part of ``scale`` and ``zero``, flat: all groups of all weights in their order.

    An offset ``[m, n]`` shifts the rounding. Gradients go to scale, zero and offsets as if rounding were the identity;
    clamped codes pass none to what they were made of, and weights (float32, or bfloat16 as :func:`narrow` makes them)
    get none. On a GPU bfloat16, elsewhere the scale's dtype.
    """
    if scale.is_cuda and all(grid.width(weight.shape[1]) <= WIDEST for weight in weights):
        tensors = [*weights, *(offsets or ())]
        found: tuple[Tensor, ...] = FakeQuantize.apply(scale, zero, grid, torch.bfloat16, len(weights), *tensors)
        return list(found)
    grids = zip(pieces(scale, weights, grid), pieces(zero, weights, grid), strict=True)
    triples = zip(weights, grids, offsets or repeat(None, len(weights)), strict=True)
    return [fake_quantize_plain(weight, *own, offset, grid) for weight, own, offset in triples]


def pieces(flat: Tensor, weights: Sequence[Tensor], grid: Grid) -> list[Tensor]:
    """A flat tensor's part for each weight, ``[m, groups]``."""
    shapes = [(m, n // grid.width(n)) for m, n in (weight.shape for weight in weights)]
    return [part.view(shape) for part, shape in zip(flat.split([m * n for m, n in shapes]), shapes, strict=True)]


def fake_quantize_plain(weight: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None, grid: Grid) -> Tensor:
    """The twin of the Triton kernels for one weight and its ``[m, groups]``, whose gradients are autograd's."""
    scale, zero = scale.unsqueeze(-1), zero.unsqueeze(-1)
    shift = None if offset is None else grid.grouped(offset)
    return grid.soft(grid.grouped(weight), scale, zero, shift).flatten(1)


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
    step = grid.step(low, high)
    scale = scale + (step - step.detach())
    if not grid.centred:
        soft = -low / scale
        zero = zero + (soft - soft.detach())
    return scale, zero


class FakeQuantize(torch.autograd.Function):
    """The Triton kernels, of all weights in one node: a step's time is launching. Nothing is saved but the inputs."""

    @staticmethod
    def forward(
        ctx: Any, scale: Tensor, zero: Tensor, grid: Grid, dtype: torch.dtype, count: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """The values in ``dtype``; ``tensors`` are ``count`` weights, and as many offsets where there are any."""
        from ptqbench.kernels.fake_triton import launch

        ctx.grid, ctx.count = grid, count
        ctx.save_for_backward(scale, zero, *tensors)
        return tuple(launch(*one, grid, dtype) for one in per_weight(tensors, count, grid, scale, zero))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of scale, zero and, where there are any, offsets."""
        from ptqbench.kernels.fake_triton import launch_backward

        scale, zero, *tensors = ctx.saved_tensors
        found = torch.empty_like(scale), torch.empty_like(zero)
        outs = zip(*(pieces(part, tensors[: ctx.count], ctx.grid) for part in found), strict=True)
        each = zip(gradients, per_weight(tensors, ctx.count, ctx.grid, scale, zero), outs, strict=True)
        offsets = [launch_backward(gradient, one, out, ctx.grid) for gradient, one, out in each]
        return *found, None, None, None, *[None] * ctx.count, *offsets[: len(tensors) - ctx.count]


def per_weight(
    tensors: Sequence[Tensor], count: int, grid: Grid, scale: Tensor, zero: Tensor
) -> list[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Weight, scale, zero and offset, one weight after the other."""
    weights, offsets = tensors[:count], tensors[count:] or repeat(None, count)
    return list(zip(weights, pieces(scale, weights, grid), pieces(zero, weights, grid), offsets, strict=True))


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
