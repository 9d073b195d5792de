"""``H = XᵀX / tokens`` of a site's inputs."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]
BLOCK = 2048  # rows of a block: tall enough to fill a GPU, low enough to skip nearly half of a wide site's products


def start(n: int, device: torch.device) -> State:
    """Accumulator for ``n`` input channels; float32, since products of half-precision inputs overflow theirs.

    Only the upper triangle (and what shares a block with it) is filled.
    """
    return {"sum": torch.zeros(n, n, device=device)}


def update(state: State, x: Tensor) -> None:
    """Add inputs ``[tokens, n]``; on a GPU half-precision ones are multiplied as they are and summed in float32.

    A product of two bfloat16 or float16 numbers is exact in float32, so tensor cores lose nothing.
    """
    x = x if x.is_cuda and x.dtype in (torch.bfloat16, torch.float16) else x.float()
    for begin in range(0, x.shape[1], BLOCK):
        add_product(state["sum"][begin : begin + BLOCK, begin:], x[:, begin : begin + BLOCK].T, x[:, begin:])


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right`` in place, summed in the dtype of ``total``."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        torch.ops.aten.addmm.dtype_out(total, left, right, total.dtype, out=total)


def finish(state: State, tokens: int) -> State:
    """``hessian``: the upper triangle, folded (see :func:`fold`); what was summed is consumed."""
    return {"hessian": fold(state["sum"].div_(max(tokens, 1)))}


def fold(matrix: Tensor) -> Tensor:
    """The upper triangle of ``[n, n]`` as a rectangle ``[⌈n/2⌉, n + 1]`` (``n`` wide where n is odd).

    Row i holds row i of the triangle from its right end on, and left of it another row, reversed, from the bottom up.
    """
    n = len(matrix)
    half, shift = (n + 1) // 2, 1 - n % 2
    folded = matrix.new_zeros(half, n + shift)
    folded[:, shift:] = matrix[:half].triu()
    folded[1 - shift :, : n - half] += matrix[half:, half:].flip(0, 1).tril()
    return folded


def unfold(folded: Tensor, n: int) -> Tensor:
    """The symmetric ``[n, n]`` matrix of a folded triangle."""
    half, shift = (n + 1) // 2, 1 - n % 2
    matrix = folded.new_zeros(n, n)
    matrix[:half] = folded[:, shift:].triu()
    matrix[half:, half:] = folded[1 - shift :, : n - half].tril().flip(0, 1)
    return mirror(matrix)


def mirror(matrix: Tensor) -> Tensor:
    """Copy the upper triangle of ``[n, n]`` onto the lower one, in place."""
    for begin in range(0, len(matrix), BLOCK):
        stop = min(begin + BLOCK, len(matrix))
        matrix[begin:stop, :begin] = matrix[:begin, begin:stop].T
        block = matrix[begin:stop, begin:stop]
        block.copy_(block.triu() + block.triu(1).T)
    return matrix
