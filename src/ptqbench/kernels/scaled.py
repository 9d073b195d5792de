"""The error of rounding a scaled weight to nearest: what a search over scales does to the whole weight, many times.

CUDA tensors go to Triton kernels that read and write the weight once, all others to their plain-torch twins.
"""

from __future__ import annotations

from torch import Tensor

from ptqbench.numbers.grid import Grid

WIDEST = 1024  # columns of a group that a program of the kernel holds


def scaled_error(weight: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """``W - Ŵ [m, n]``, where ``W diag(s)`` is rounded to nearest on its full range and the scale ``[n]`` undone."""
    if weight.is_cuda and grid.width(weight.shape[1]) <= WIDEST:
        from ptqbench.kernels.scaled_triton import launch

        return launch(weight, scale, grid)
    return scaled_error_plain(weight, scale, grid)


def scaled_error_plain(weight: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """The twin of the Triton kernel."""
    scaled = grid.grouped(weight * scale)
    step, zero = (value.unsqueeze(-1) for value in grid.from_bounds(scaled.amin(-1), scaled.amax(-1)))
    return weight - grid.rounded(scaled, step, zero).flatten(1) / scale


def scaled_half(weight: Tensor, scale: Tensor, root: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """That error times ``root [n]``, float16 ``[m, n]``, and the sum of its squares in each row, float32 ``[m]``.

    The kernel does not divide, so that codes at a tie, and with them the sign of their error, may differ.
    """
    if weight.is_cuda and grid.width(weight.shape[1]) <= WIDEST:
        from ptqbench.kernels.scaled_triton import launch_half

        return launch_half(weight, scale, root, grid)
    return scaled_half_plain(weight, scale, root, grid)


def scaled_half_plain(weight: Tensor, scale: Tensor, root: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The twin of the Triton kernel."""
    error = scaled_error_plain(weight, scale, grid) * root
    return error.half(), error.square().sum(1)
