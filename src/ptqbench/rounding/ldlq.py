"""QuIP's adaptive rounding (arXiv 2307.13304, section 3) and its greedy passes.

With ``H = (I + A) D (I + A)ᵀ``, A strictly upper, column j is rounded as ``Q(w_j + (W - Ŵ) A_:j)``: the same codes as
GPTQ's (theorem 6 there). A greedy pass then revisits every column with all others fixed; codes are clamped inside each
step, so that no pass increases the loss. The reference clamps after a pass and clamps the target before: not done here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ptqbench.quantize.factor import inverse_factor
from ptqbench.quantize.problem import Problem, Rounded, processing_order
from ptqbench.quantize.proxy import proxy_loss
from ptqbench.rounding import gptq, nearest

STRATEGY = "compensation"
DEFAULTS = {"damp": 0.01, "act_order": False, "passes": 1, "block_size": 128}


def round_site(problem: Problem, damp: float, act_order: bool, passes: int, block_size: int) -> Rounded:
    """Codes by LDLQ on the fitted grid and ``passes`` greedy passes, both under the damped Hessian."""
    weight, hessian, dead = gptq.without_dead_columns(problem.weight, problem.hessian)
    live = replace(problem, weight=weight, hessian=hessian)
    n = weight.shape[1]
    order = processing_order(hessian, act_order)
    factor = inverse_factor(hessian[order][:, order], damp)
    record = {"damp": factor.damp, "cholesky_attempts": factor.attempts, "dead_columns": dead}
    if factor.upper is None:
        plain = nearest.round_site(problem)
        return Rounded(plain.codes, plain.scale, plain.zero, {**record, "fallback": "nearest: H cannot be factored"})
    scale, zero = live.fit()
    groups = order // live.grid.width(n)
    ordered = weight[:, order]
    codes = ldlq(ordered, feedback(factor.upper), live, scale[:, groups], zero[:, groups], block_size)
    damped = hessian[order][:, order].clone()
    damped.diagonal().add_(factor.damp * hessian.diagonal().mean())
    losses = [_loss(ordered, codes, scale[:, groups], zero[:, groups], damped)]
    for _ in range(passes):
        codes = greedy_pass(ordered, codes, damped, live, scale[:, groups], zero[:, groups], block_size)
        losses.append(_loss(ordered, codes, scale[:, groups], zero[:, groups], damped))
    return Rounded(codes[:, torch.argsort(order)], scale, zero, {**record, "greedy_losses": losses})


def feedback(upper: Tensor) -> Tensor:
    """``A`` with ``H = (I + A) D (I + A)ᵀ``, from GPTQ's ``U`` (``H⁻¹ = UᵀU``): ``I + A = U⁻¹ diag U``."""
    identity = torch.eye(len(upper), dtype=upper.dtype, device=upper.device)
    inverse = torch.linalg.solve_triangular(upper, identity, upper=True)
    return (inverse * upper.diagonal()).triu(1)


def ldlq(weight: Tensor, linear: Tensor, problem: Problem, scale: Tensor, zero: Tensor, block_size: int) -> Tensor:
    """Codes of ``weight [m, n]`` in processing order; ``scale`` and ``zero`` per column, ``[m, n]``."""
    grid, n = problem.grid, weight.shape[1]
    codes, delta = torch.empty_like(weight), torch.zeros_like(weight)
    for start in range(0, n, block_size):
        stop = min(start + block_size, n)
        target = weight[:, start:stop] + delta[:, :start] @ linear[:start, start:stop]
        for j in range(start, stop):
            codes[:, j] = grid.encode(target[:, j - start], scale[:, j], zero[:, j])
            delta[:, j] = weight[:, j] - grid.decode(codes[:, j], scale[:, j], zero[:, j])
            target[:, j - start + 1 :].addr_(delta[:, j], linear[j, j + 1 : stop])
    return codes


def greedy_pass(
    weight: Tensor, codes: Tensor, hessian: Tensor, problem: Problem, scale: Tensor, zero: Tensor, block_size: int
) -> Tensor:
    """One round of coordinate descent: each column to its best code given the others."""
    grid, n = problem.grid, weight.shape[1]
    codes = codes.clone()
    values = grid.decode(codes, scale, zero)
    for start in range(0, n, block_size):
        stop = min(start + block_size, n)
        slope = (values - weight) @ hessian[:, start:stop]
        for j in range(start, stop):
            wanted = values[:, j] - slope[:, j - start] / hessian[j, j]
            codes[:, j] = grid.encode(wanted, scale[:, j], zero[:, j])
            value = grid.decode(codes[:, j], scale[:, j], zero[:, j])
            slope[:, j - start + 1 :].addr_(value - values[:, j], hessian[j, j + 1 : stop])
            values[:, j] = value
    return codes


def _loss(weight: Tensor, codes: Tensor, scale: Tensor, zero: Tensor, hessian: Tensor) -> float:
    return proxy_loss(weight - scale * (codes - zero), hessian).sum().item()
