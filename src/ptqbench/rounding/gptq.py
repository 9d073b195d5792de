"""GPTQ: round column by column and move each column's error to those not yet rounded (arXiv 2210.17323).

Unlike the reference, a group's range is fitted to current values (the reference's is stale inside a block, which
makes its result depend on ``block_size``), every group's scale is kept, and activation order implies static groups.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ptqbench.quantize.factor import inverse_factor
from ptqbench.quantize.problem import Problem, Rounded, processing_order
from ptqbench.quantize.proxy import proxy_loss
from ptqbench.rounding import nearest

STRATEGY = "compensation"
DEFAULTS = {"damp": 0.01, "act_order": True, "static_groups": True, "block_size": 128}


def round_site(problem: Problem, damp: float, act_order: bool, static_groups: bool, block_size: int) -> Rounded:
    """Codes by GPTQ; a Hessian that no damping can factor falls back to nearest rounding, recorded as ``fallback``.

    ``damp`` is relative to the mean of H's diagonal. The record holds ``‖E‖²`` against ``tr(Δ H_d Δᵀ)``, which are
    equal in exact arithmetic whether or not codes were clamped.
    """
    weight, hessian, dead = without_dead_columns(problem.weight, problem.hessian)
    live = replace(problem, weight=weight, hessian=hessian)
    order = processing_order(hessian, act_order)
    factor = inverse_factor(hessian[order][:, order], damp)
    record = {"damp": factor.damp, "cholesky_attempts": factor.attempts, "dead_columns": dead}
    if factor.upper is None:
        plain = nearest.round_site(problem)
        return Rounded(plain.codes, plain.scale, plain.zero, {**record, "fallback": "nearest: H cannot be factored"})
    groups = (order // live.grid.width(weight.shape[1])).tolist()
    refit = None if act_order or static_groups else live
    scale, zero = live.fit()
    codes, errors = solve(weight[:, order], factor.upper, live, groups, scale, zero, refit, block_size)
    codes = codes[:, torch.argsort(order)]
    record |= identity_check(live, codes, scale, zero, errors, factor.damp)
    return Rounded(codes, scale, zero, record)


def without_dead_columns(weight: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor, int]:
    """Columns whose input was always 0 get weight 0 and a unit diagonal: they neither move nor receive error."""
    dead = hessian.diagonal() == 0
    count = int(dead.sum())
    if count:
        weight = weight.masked_fill(dead, 0.0)
        hessian = hessian + torch.diag(dead.to(hessian.dtype))
    return weight, hessian, count


def solve(
    weight: Tensor,
    upper: Tensor,
    problem: Problem,
    groups: list[int],
    scale: Tensor,
    zero: Tensor,
    refit: Problem | None,
    block_size: int,
) -> tuple[Tensor, Tensor]:
    """The column loop over ``weight [m, n]`` in processing order; returns codes and scaled errors ``E``, ``[m, n]``.

    ``groups`` is each column's group. With ``refit``, a group's range is fitted anew, from current values, when
    its first column is reached, and ``scale`` and ``zero`` are updated in place.
    """
    grid, n = problem.grid, weight.shape[1]
    width = grid.width(n)
    block_size = block_size if block_size % width == 0 or width % block_size == 0 else width
    weight, codes, errors = weight.clone(), torch.empty_like(weight), torch.empty_like(weight)
    for start in range(0, n, block_size):
        stop = min(start + block_size, n)
        for j in range(start, stop):
            group = groups[j]
            if refit is not None and j % width == 0:
                scale[:, group], zero[:, group] = refit.fit_group(weight[:, j : j + width], group)
            column = weight[:, j]
            codes[:, j] = grid.encode(column, scale[:, group], zero[:, group])
            value = grid.decode(codes[:, j], scale[:, group], zero[:, group])
            errors[:, j] = (column - value) / upper[j, j]
            weight[:, j + 1 : stop].addr_(errors[:, j], upper[j, j + 1 : stop], alpha=-1)
        weight[:, stop:].addmm_(errors[:, start:stop], upper[start:stop, stop:], alpha=-1)
    return codes, errors


def identity_check(
    problem: Problem, codes: Tensor, scale: Tensor, zero: Tensor, errors: Tensor, damp: float
) -> dict[str, float]:
    """``‖E‖²`` and its relative distance from ``tr(Δ H_d Δᵀ)``."""
    grid = problem.grid
    values = grid.decode(grid.grouped(codes), scale.unsqueeze(-1), zero.unsqueeze(-1)).flatten(1)
    damped = problem.hessian.clone()
    damped.diagonal().add_(damp * problem.hessian.diagonal().mean())
    direct = proxy_loss(problem.weight - values, damped).sum().item()
    energy = errors.double().square().sum().item()
    return {"error_energy": energy, "identity_error": abs(energy - direct) / max(direct, 1e-30)}
