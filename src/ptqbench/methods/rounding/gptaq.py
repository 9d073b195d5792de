"""GPTAQ (arXiv 2504.02692): GPTQ that also corrects for the error in its inputs, which the float model did not have.

With ``C = (X̃ - X)ᵀX`` and U as in GPTQ, ``P = α striu(C Uᵀ) U``; besides GPTQ's update, column j adds ``w_j P_jk`` to
every later column k, where ``w_j`` is the latent value before rounding. The reference multiplies P by values that were
already rounded in its lazy updates, which makes its result depend on ``block_size``: the latent values are kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ptqbench.linalg.factor import inverse, upper_factor
from ptqbench.methods.contracts import Rounding, parameter
from ptqbench.methods.problem import (
    Problem,
    Rounded,
    live_diagonal,
    processing_order,
    unfactorable,
    without_dead_columns,
)


@dataclass(frozen=True)
class Gptaq(Rounding):
    """As GPTQ; ``alpha`` is the share of the inputs' error that is corrected."""

    STRATEGY: ClassVar = "compensation"
    PROPAGATES: ClassVar = True
    BOTH_STREAMS: ClassVar = True

    damp: float = parameter(0.01, minimum=0, maximum=10)
    act_order: bool = parameter(True)
    alpha: float = parameter(0.25, minimum=0, maximum=1)
    block_size: int = parameter(128, minimum=1, maximum=65536)

    def round_site(self, problem: Problem) -> Rounded:
        """Codes by GPTAQ on static groups; an unfactorable Hessian falls back to nearest rounding, recorded."""
        assert problem.cross is not None
        live, (diagonal, dead) = without_dead_columns(problem), live_diagonal(problem)
        n = len(diagonal)
        order = processing_order(diagonal, self.act_order)
        order = torch.arange(n, device=diagonal.device) if order is None else order
        factor = upper_factor(problem.hessian, order, diagonal, self.damp, problem.trusted)
        record = {"damp": factor.damp, "cholesky_attempts": factor.attempts, "dead_columns": dead.sum()}
        if factor.upper is None:
            return unfactorable(problem, record)
        upper = inverse(factor.upper)
        cross = problem.cross.masked_fill(problem.hessian.diagonal() == 0, 0.0)[order][:, order]
        correction = self.alpha * (cross @ upper.T).triu(1) @ upper
        scale, zero = live.fit()
        groups = (order // live.grid.width(n)).tolist()
        codes = solve(live.weight[:, order], upper, correction, live, groups, scale, zero, self.block_size)
        return Rounded(codes[:, torch.argsort(order)], scale, zero, record, sound=factor.sound)


def solve(
    weight: Tensor,
    upper: Tensor,
    correction: Tensor,
    problem: Problem,
    groups: list[int],
    scale: Tensor,
    zero: Tensor,
    block_size: int,
) -> Tensor:
    """The column loop over ``weight [m, n]`` in processing order, with ``correction`` = P ``[n, n]``; returns codes."""
    grid, n = problem.grid, weight.shape[1]
    weight, codes = weight.clone(), torch.empty_like(weight)
    errors, latent = torch.empty_like(weight), torch.empty_like(weight)
    for start in range(0, n, block_size):
        stop = min(start + block_size, n)
        for j in range(start, stop):
            group = groups[j]
            latent[:, j] = weight[:, j]
            codes[:, j] = grid.encode(latent[:, j], scale[:, group], zero[:, group])
            value = grid.decode(codes[:, j], scale[:, group], zero[:, group])
            errors[:, j] = (latent[:, j] - value) / upper[j, j]
            weight[:, j + 1 : stop].addr_(errors[:, j], upper[j, j + 1 : stop], alpha=-1)
            weight[:, j + 1 : stop].addr_(latent[:, j], correction[j, j + 1 : stop])
        weight[:, stop:].addmm_(errors[:, start:stop], upper[start:stop, stop:], alpha=-1)
        weight[:, stop:].addmm_(latent[:, start:stop], correction[start:stop, stop:])
    return codes
