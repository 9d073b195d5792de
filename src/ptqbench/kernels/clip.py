"""The search for the range of least output error: by which of a few factors each group's ends are drawn in.

CUDA tensors go to a Triton kernel that reads the weight once, all others to its plain-torch twin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.numbers.grid import Grid

WIDTHS = (16, 32, 64, 128)  # of groups whose block of H a program of the kernel holds


def best_shrinks(weight: Tensor, grid: Grid, hessian: Tensor, shrinks: list[float]) -> Tensor:
    """The first of ``shrinks`` with the least ``δ H_gg δᵀ`` for each group of ``weight [m, groups, width]``.

    ``hessian [groups, width, width]``: the groups' blocks of H. Returns ``[m, groups]``.
    """
    if weight.is_cuda and weight.dtype == torch.float32 and weight.shape[-1] in WIDTHS:
        from ptqbench.kernels.clip_triton import launch

        return launch(weight, grid, hessian, shrinks)
    return best_shrinks_plain(weight, grid, hessian, shrinks)


def best_shrinks_plain(weight: Tensor, grid: Grid, hessian: Tensor, shrinks: list[float]) -> Tensor:
    """The twin of the Triton kernel."""
    low, high = weight.amin(-1), weight.amax(-1)
    best, kept = torch.full_like(low, float("inf")), torch.ones_like(low)
    for shrink in shrinks:
        scale, zero = (value.unsqueeze(-1) for value in grid.from_bounds(low * shrink, high * shrink))
        delta = (grid.rounded(weight, scale, zero) - weight).transpose(0, 1)
        error = ((delta @ hessian) * delta).sum(-1).T
        better = error < best
        best, kept = torch.where(better, error, best), torch.where(better, shrink, kept)
    return kept
