"""The loop over columns that GPTQ and LDLQ share: round one, feed its error to those not yet rounded.

Everything is transposed: a column of the weight is a contiguous row here (see ``kernels.feedback``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ptqbench.kernels.feedback import Block, round_block
from ptqbench.linalg.product import add_product
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.problem import Problem, Rounded, ordered, without_dead_columns

BLOCK, GPU_BLOCK = 128, 256  # columns of a block where ``block_size`` is None: of them only speed depends on it
ROWS = 8192  # rows whose loss is taken at once
PANEL = 8  # blocks whose errors reach the columns beyond them in one product


class Columns(NamedTuple):
    """A weight as a sequential rounding takes it: ``weight [n, m]``, the columns in order, one below the other.

    ``scale`` and ``zero`` are ``[groups, m]``, and ``groups [n]`` is each column's group.
    """

    weight: Tensor
    scale: Tensor
    zero: Tensor
    groups: Tensor

    def grids(self) -> tuple[Tensor, Tensor]:
        """Scale and zero as a :class:`Rounded` has them, ``[m, groups]``."""
        return self.scale.T.contiguous(), self.zero.T.contiguous()


class Solved(NamedTuple):
    """Codes ``[n, m]`` (uint8) and the loss of each row under the damped Hessian, ``[m]``."""

    codes: Tensor
    energy: Tensor


def in_order(problem: Problem, order: Tensor | None) -> Columns:
    """The problem's columns in processing order, dead ones 0, with the grid fitted to all of them."""
    live = without_dead_columns(problem)
    scale, zero = (part.T.contiguous() for part in live.fit())
    n = live.weight.shape[1]
    groups = ordered(torch.arange(n, device=scale.device) // problem.grid.width(n), order)
    return Columns(ordered(live.weight.T, order).contiguous(), scale, zero, groups)


def solve(
    columns: Columns, linear: Tensor, pivots: Tensor, problem: Problem, refit: Problem | None, block_size: int | None
) -> Solved:
    """The loop over blocks of columns, with ``linear [n, n]`` = I + A and ``pivots [n]`` = D.

    With ``refit``, a group's range is fitted anew, from current values, when its first column is reached, and
    ``columns.scale`` and ``zero`` are updated in place.
    """
    weight, grid = columns.weight, problem.grid
    n, m = weight.shape
    block_size, panel = steps(block_of(block_size, weight), grid.width(n) if refit else None)
    target, codes = weight.clone(), torch.empty(n, m, dtype=torch.uint8, device=weight.device)
    energy, delta = weight.new_zeros(m), weight.new_empty(min(panel, n), m)
    for begin in range(0, n, panel):
        end = min(begin + panel, n)
        for start in range(begin, end, block_size):
            stop = min(start + block_size, end)
            if refit is not None and start % grid.width(n) == 0:
                fit_group(columns, target, linear, refit, start)
            own = slice(start, stop)
            within, grids = linear[own, own].contiguous(), (columns.scale, columns.zero, columns.groups[own])
            block = Block(target[own], weight[own], within, pivots[own], *grids)
            part = delta[start - begin : stop - begin]
            round_block(block, grid, codes[own], part, energy)
            target[stop:end].addmm_(linear[start:stop, stop:end].T, part)
        if end < n:
            add_product(target[end:], linear[begin:end, end:].T, delta[: end - begin])
    return Solved(codes, energy)


def block_of(block_size: int | None, weight: Tensor) -> int:
    """Columns of a block; None: as many as suit the weight's device."""
    if block_size is not None:
        return block_size
    return GPU_BLOCK if weight.is_cuda else BLOCK


def steps(block_size: int, width: int | None) -> tuple[int, int]:
    """Columns of a block and of a panel of blocks; no refitted group (of ``width``) straddles two blocks or panels."""
    if width is None:
        return block_size, block_size * PANEL
    block_size = block_size if width % block_size == 0 else width
    return block_size, -(-block_size * PANEL // width) * width


def fit_group(columns: Columns, target: Tensor, linear: Tensor, problem: Problem, start: int) -> None:
    """Fit the grid of the group that starts at column ``start`` to what its weights have become.

    Targets are what each column will be rounded at; the values that GPTQ holds at this moment, the best that remain
    given the columns before, are ``W + (T - W)(I + A)⁻¹`` within the group.
    """
    width = problem.grid.width(len(target))
    own = slice(start, start + width)
    moved = target[own] - columns.weight[own]
    moved = torch.linalg.solve_triangular(linear[own, own].T, moved, upper=False, unitriangular=True)
    values = (columns.weight[own] + moved).T.contiguous()
    group = start // width
    scale, columns.zero[group] = problem.fit_group(values, group)
    columns.scale[group] = problem.grid.within(scale, columns.scale)


def row_losses(problem: Problem, rounded: Rounded) -> tuple[Tensor, Tensor]:
    """Per row ``Δ H Δᵀ`` and ``Δ Δᵀ`` with weight 0 in dead columns, float64 ``[m]``; no copy of all rows is made."""
    grid, losses, sizes = problem.grid, [], []
    parts = (problem.weight, rounded.codes, rounded.scale, rounded.zero)
    for weight, codes, scale, zero in zip(*(part.split(ROWS) for part in parts), strict=True):
        values = grid.decode(grid.grouped(codes), scale.unsqueeze(-1), zero.unsqueeze(-1)).flatten(1)
        delta = without_dead_columns(replace(problem, weight=weight)).weight.sub_(values)
        losses.append(proxy_loss(delta, problem.hessian))
        sizes.append(delta.square().sum(1, dtype=torch.float64))
    return torch.cat(losses), torch.cat(sizes)


def identity_check(losses: Tensor, energy: Tensor) -> dict[str, Tensor]:
    """The loss that the steps add up to and its relative distance from the direct ``losses`` of all rows."""
    direct, total = losses.sum(), energy.sum(dtype=torch.float64)
    return {"error_energy": total, "identity_error": (total - direct).abs() / direct.clamp(min=1e-30)}
