"""What a rounding is given and what it returns: the stacked linears of one input site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ptqbench.fallback import Fallback
from ptqbench.numbers.grid import Grid

UNFACTORABLE = Fallback("nearest", "H cannot be factored")
Bounds = Callable[[Tensor, Grid, Tensor | None], tuple[Tensor, Tensor]]


@dataclass
class Problem:
    """Round ``weight [m, n]`` (rows of all linears of a site) to ``grid`` under ``hessian [n, n]`` = XᵀX / tokens.

    ``bounds`` is the range member; ``fixed`` holds ``(low, high) [m, groups]`` when the ranges are decided already.
    ``cross [n, n]`` is ``(X̃ - X)ᵀX / tokens`` where the float model's inputs X̃ are known; ``offset [m, n]`` shifts
    learned rounding. ``trusted``: factorizations are used before anyone has looked whether they are sound.
    """

    weight: Tensor
    hessian: Tensor
    grid: Grid
    bounds: Bounds | None
    fixed: tuple[Tensor, Tensor] | None = None
    cross: Tensor | None = None
    offset: Tensor | None = None
    trusted: bool = False

    def fit(self) -> tuple[Tensor, Tensor]:
        """Scale and zero ``[m, groups]`` of every group, from the weight as it stands."""
        ends = self.fixed
        if ends is None:
            assert self.bounds is not None
            width = self.grid.width(self.weight.shape[1])
            blocks = diagonal_blocks(self.hessian, width)
            ends = self.bounds(self.grid.grouped(self.weight), self.grid, blocks)
        scale, zero = self.grid.from_bounds(*ends)
        return self.grid.joint(scale), zero

    def fit_group(self, values: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """Scale and zero ``[m]`` of one group from its current ``values [m, width]``."""
        if self.fixed is not None:
            low, high = self.fixed[0][:, group], self.fixed[1][:, group]
            return self.grid.from_bounds(low, high)
        assert self.bounds is not None
        width = values.shape[1]
        block = self.hessian[group * width : (group + 1) * width, group * width : (group + 1) * width]
        low, high = self.bounds(values.unsqueeze(1), self.grid, block.unsqueeze(0))
        scale, zero = self.grid.from_bounds(low, high)
        return scale[:, 0], zero[:, 0]


@dataclass
class Rounded:
    """Codes ``[m, n]`` (kept as uint8), scale and zero ``[m, groups]`` (float tensors), and what there is to report.

    ``losses [m]``: the proxy loss of each row on the problem as given, float64, where the rounding has taken it.
    ``sound``: of a trusted problem, whether its factorization was; None where nothing was factored.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor
    record: dict[str, Any] = field(default_factory=dict)
    losses: Tensor | None = None
    sound: Tensor | None = None

    def __post_init__(self) -> None:
        self.codes = self.codes.to(torch.uint8)


def nearest(problem: Problem) -> Rounded:
    """Nearest codes on the fitted grid."""
    scale, zero = problem.fit()
    grid = problem.grid
    codes = grid.encode(grid.grouped(problem.weight), scale.unsqueeze(-1), zero.unsqueeze(-1))
    return Rounded(codes.flatten(1), scale, zero)


def unfactorable(problem: Problem, record: dict[str, Any]) -> Rounded:
    """Nearest rounding where no damping lets H be factored, and the record says so."""
    plain = nearest(problem)
    return Rounded(plain.codes, plain.scale, plain.zero, {**record, "fallback": UNFACTORABLE.as_json()})


def live_diagonal(problem: Problem) -> tuple[Tensor, Tensor]:
    """The diagonal ``[n]`` of H to use, and which of its columns are dead: their input was always 0.

    These get the mean of the others, so that what is a share of the diagonal's mean (damping) is one of the live
    columns' in any unit of H; with 0 as their weight they neither move nor receive error.
    """
    diagonal = problem.hessian.diagonal()
    dead = diagonal == 0
    mean = diagonal.sum() / (~dead).sum().clamp(min=1)
    return torch.where(dead, torch.where(mean > 0, mean, 1.0), diagonal), dead


def without_dead_columns(problem: Problem) -> Problem:
    """The problem with the weights 0 whose input was always 0."""
    return replace(problem, weight=problem.weight.masked_fill(problem.hessian.diagonal() == 0, 0.0))


def processing_order(diagonal: Tensor, act_order: bool) -> Tensor | None:
    """Columns in the order in which a sequential rounding takes them: by H's ``diagonal [n]``; None: as they come."""
    return torch.argsort(diagonal, descending=True, stable=True) if act_order else None


def ordered(x: Tensor, order: Tensor | None) -> Tensor:
    """The rows of ``x [n, …]`` in that order."""
    return x if order is None else x[order]


def restored(x: Tensor, order: Tensor | None) -> Tensor:
    """The rows of ``x [n, …]`` as they were before :func:`ordered`."""
    return x if order is None else x[torch.argsort(order)]


def diagonal_blocks(hessian: Tensor, width: int) -> Tensor:
    """The ``width × width`` blocks on the diagonal, ``[groups, width, width]``."""
    groups = hessian.shape[0] // width
    view = hessian.view(groups, width, groups, width)
    return view.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
