"""The in-block loop of GPTQ and LDLQ: columns one after the other, each one's error fed to those after it.

Everything is transposed: a column of the weight is a contiguous row here, so that it is read and written at once.
CUDA tensors go to the Triton kernel, all others to its plain-torch twin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptqbench.numbers.grid import Grid


class Block(NamedTuple):
    """What rounding one block of ``b`` columns needs.

    ``target [b, m]``: the weight plus what earlier blocks fed to it (overwritten); ``weight [b, m]``;
    ``linear [b, b]``: A above the diagonal, of ``H = (I + A) D (I + A)ᵀ``; ``pivots [b]``: D;
    ``scale`` and ``zero`` ``[groups, m]``; ``groups [b]``: which of them is each column's, int64.
    """

    target: Tensor
    weight: Tensor
    linear: Tensor
    pivots: Tensor
    scale: Tensor
    zero: Tensor
    groups: Tensor


def round_block(block: Block, grid: Grid, codes: Tensor, delta: Tensor, energy: Tensor) -> None:
    """Write ``codes [b, m]`` (uint8) and ``delta [b, m]`` = weight - value; add to ``energy [m]`` the loss under H."""
    if block.target.is_cuda:
        from ptqbench.kernels.feedback_triton import launch

        launch(block, grid, codes, delta, energy)
    else:
        round_block_plain(block, grid, codes, delta, energy)


def round_block_plain(block: Block, grid: Grid, codes: Tensor, delta: Tensor, energy: Tensor) -> None:
    """The twin of the Triton kernel."""
    target, weight, linear, pivots, scales, zeros, groups = block
    for j, group in enumerate(groups.tolist()):
        scale, zero = scales[group], zeros[group]
        code = grid.encode(target[j], scale, zero)
        value = grid.decode(code, scale, zero)
        energy.addcmul_((target[j] - value).square_(), pivots[j])
        torch.sub(weight[j], value, out=delta[j])
        codes[j] = code
        target[j + 1 :].addr_(linear[j, j + 1 :], delta[j])
