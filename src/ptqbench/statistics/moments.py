"""Mean and kurtosis per input channel, for the diagnosis of outliers."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]
ROWS = 128  # taken at once on the processor, so that their powers stay in its cache


def start(n: int, device: torch.device) -> State:
    """Accumulator for ``n`` input channels: the sums of the first four powers, float64."""
    return {"powers": torch.zeros(4, n, dtype=torch.float64, device=device)}


def update(state: State, x: Tensor) -> None:
    """Add inputs ``[tokens, n]``."""
    if x.is_cuda:
        from ptqbench.kernels import sums as columns

        state["powers"] += columns.powers(x)
        return
    for rows in x.split(ROWS):
        first = rows.double()  # a channel's mean may be hundreds of times its deviation
        square = first * first
        for row, power in enumerate((first, square, square * first, square * square)):
            state["powers"][row] += power.sum(0)


def finish(state: State, tokens: int) -> State:
    """``mean`` and ``kurtosis`` (3 for a normal distribution; 0 where a channel is constant), float32 ``[n]``."""
    m1, m2, m3, m4 = state["powers"] / max(tokens, 1)
    variance = m2 - m1**2
    fourth = m4 - 4 * m3 * m1 + 6 * m2 * m1**2 - 3 * m1**4
    constant = variance <= 1e-12 * m2
    kurtosis = torch.where(constant, 0.0, fourth / variance.clamp(min=1e-30) ** 2)
    return {"mean": m1.float(), "kurtosis": kurtosis.float()}
