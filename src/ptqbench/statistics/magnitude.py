"""Mean and maximum of ``|x|`` per input channel, which AWQ and SmoothQuant scale by."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]


def start(n: int, device: torch.device) -> State:
    """Accumulator for ``n`` input channels."""
    return {"sum": torch.zeros(n, dtype=torch.float64, device=device), "max": torch.zeros(n, device=device)}


def update(state: State, x: Tensor) -> None:
    """Add inputs ``[tokens, n]``."""
    if not len(x):
        return
    if x.is_cuda:
        from ptqbench.kernels import sums as columns

        total, largest = columns.magnitudes(x)
    else:
        size = x.float().abs()
        total, largest = size.sum(0, dtype=torch.float64), size.amax(0)
    state["sum"] += total
    torch.maximum(state["max"], largest, out=state["max"])


def finish(state: State, tokens: int) -> State:
    """``mean_abs`` and ``max_abs``, float32 ``[n]``."""
    return {"mean_abs": (state["sum"] / max(tokens, 1)).float(), "max_abs": state["max"]}
