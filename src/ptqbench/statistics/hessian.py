"""``H = XᵀX / tokens`` of a site's inputs."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]


def start(n: int, device: torch.device) -> State:
    """Accumulator for ``n`` input channels; float32, since products of half-precision inputs overflow theirs."""
    return {"sum": torch.zeros(n, n, device=device)}


def update(state: State, x: Tensor) -> None:
    """Add inputs ``[tokens, n]``."""
    x = x.float()
    state["sum"].addmm_(x.T, x)


def finish(state: State, tokens: int) -> State:
    """``hessian``: the upper triangle, row by row, float32 ``[n (n + 1) / 2]``."""
    mean = state["sum"] / max(tokens, 1)
    return {"hessian": torch.cat([mean[i, i:] for i in range(len(mean))])}


def from_triangle(triangle: Tensor, n: int) -> Tensor:
    """The symmetric ``[n, n]`` matrix of a row-by-row upper triangle."""
    full = triangle.new_zeros(n, n)
    full[torch.ones(n, n, dtype=torch.bool, device=triangle.device).triu()] = triangle
    return full + full.triu(1).T
