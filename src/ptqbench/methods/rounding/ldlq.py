"""QuIP's adaptive rounding (arXiv 2307.13304, section 3) and its greedy passes.

With ``H = (I + A) D (I + A)ᵀ``, A strictly upper, column j is rounded as ``Q(w_j + (W - Ŵ) A_:j)``: the same codes as
GPTQ's (theorem 6 there), found by the same loop. A greedy pass then revisits every column with all others fixed; codes
are clamped inside each step, so that no pass increases the loss. The reference clamps after a pass and clamps the
target before: not done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ptqbench.kernels.feedback import Block, round_block
from ptqbench.linalg.factor import feedback, upper_factor
from ptqbench.linalg.product import hold, product, put
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.columns import Columns, block_of, in_order, row_losses, solve
from ptqbench.methods.contracts import Rounding, parameter
from ptqbench.methods.problem import Problem, Rounded, live_diagonal, ordered, processing_order, restored, unfactorable

PANEL = 4  # blocks of a greedy pass between two products with all columns


@dataclass(frozen=True)
class Ldlq(Rounding):
    """As GPTQ, and ``passes`` greedy ones after it."""

    STRATEGY: ClassVar = "compensation"

    damp: float = parameter(0.01, minimum=0, maximum=10)
    act_order: bool = parameter(False)
    passes: int = parameter(1, minimum=0, maximum=100)
    block_size: int | None = parameter(None, minimum=1, maximum=65536)

    def round_site(self, problem: Problem) -> Rounded:
        """Codes by LDLQ on the fitted grid and ``passes`` greedy passes, both under the damped Hessian."""
        diagonal, dead = live_diagonal(problem)
        order = processing_order(diagonal, self.act_order)
        factor = upper_factor(problem.hessian, order, diagonal, self.damp, problem.trusted)
        record = {"damp": factor.damp, "cholesky_attempts": factor.attempts, "dead_columns": dead.sum()}
        if factor.upper is None:
            return unfactorable(problem, record)
        columns = in_order(problem, order)
        done = solve(columns, *feedback(factor.upper), problem, None, self.block_size)
        codes, energies = done.codes, [done.energy.sum(dtype=torch.float64)]
        factor.upper = None
        damping = factor.damp * diagonal.mean()
        if self.passes:
            damped = problem.hessian.clone() if order is None else problem.hessian[order][:, order]
            damped.diagonal().copy_(ordered(diagonal, order) + damping)
        for index in range(self.passes):
            codes = greedy_pass(columns, codes, damped, problem, self.block_size)
            if index + 1 < self.passes:
                energies.append(proxy_loss((columns.weight - decode(columns, codes, problem)).T, damped).sum())
        codes = restored(codes, order).T.contiguous()
        grids = columns.grids()
        losses, sizes = row_losses(problem, Rounded(codes, *grids))
        if self.passes:
            energies.append((losses + damping * sizes).sum())
        record["greedy_losses"] = torch.stack(
            energies
        )  # before the first pass and after each, under the damped Hessian
        return Rounded(codes, *grids, record, losses, factor.sound)


def decode(columns: Columns, codes: Tensor, problem: Problem) -> Tensor:
    """The values of ``codes [n, m]``."""
    return problem.grid.decode(codes, columns.scale[columns.groups], columns.zero[columns.groups])


def greedy_pass(columns: Columns, codes: Tensor, hessian: Tensor, problem: Problem, block_size: int | None) -> Tensor:
    """One round of coordinate descent: each column of ``codes [n, m]`` to its best code given the others.

    Column j's best value is ``v_j - (V - W) H_:j / H_jj``: the loop of GPTQ, with ``H_jk / H_kk`` to feed back and the
    current values instead of the weight.
    """
    weight, grid = columns.weight, problem.grid
    n, m = weight.shape
    block_size = block_of(block_size, weight)
    panel, codes, values = block_size * PANEL, codes.clone(), decode(columns, codes, problem)
    diagonal, energy, error = hessian.diagonal().clone(), weight.new_zeros(m), hold(values - weight)
    for begin in range(0, n, panel):
        end = min(begin + panel, n)
        linear = hessian[begin:end, begin:end] / diagonal[begin:end]
        slope = product(hessian[begin:end], error)
        target = values[begin:end] - slope / diagonal[begin:end, None]
        change = torch.empty_like(target)
        for start in range(begin, end, block_size):
            stop = min(start + block_size, end)
            own, rest = slice(start - begin, stop - begin), slice(stop - begin, end - begin)
            grids = (columns.scale, columns.zero, columns.groups[start:stop])
            block = Block(target[own], values[start:stop], linear[own, own], diagonal[start:stop], *grids)
            round_block(block, grid, codes[start:stop], change[own], energy)
            target[rest].addmm_(linear[own, rest].T, change[own])
        values[begin:end] -= change
        put(error, slice(begin, end), values[begin:end] - weight[begin:end])
    return codes
