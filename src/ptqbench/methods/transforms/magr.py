"""MagR (arXiv 2406.00800): shrink each row's largest weight where that hardly changes the output.

``min_V ½ tr((V - W) H (V - W)ᵀ) + α ‖V‖_∞`` per row or group by proximal gradient, with ``H`` scaled to a largest
eigenvalue of one. It changes the model's function a little, so the loss is reported against the original weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ptqbench.methods.contracts import Facts, WeightTransform, parameter
from ptqbench.methods.problem import Problem, without_dead_columns

ALPHA_PER_ROW, ALPHA_PER_GROUP = 1e-3, 1e-4


@dataclass(frozen=True)
class Magr(WeightTransform):
    """``alpha`` weighs the maximum; None: the paper's for the granularity."""

    STRATEGY: ClassVar = "optimization"
    NEEDS: ClassVar[Facts] = {"model_weight": {}}
    BREAKS: ClassVar[Facts] = {"model_weight": {}}

    alpha: float | None = parameter(None, exclusiveMinimum=0, maximum=1)
    iterations: int = parameter(200, minimum=1, maximum=10000)

    def reshape(self, problem: Problem) -> Tensor:
        """The weight to round instead of ``problem.weight``; ``alpha`` defaults to the paper's for the granularity."""
        grouped = problem.grid.group_size != -1
        strength = self.alpha if self.alpha is not None else ALPHA_PER_GROUP if grouped else ALPHA_PER_ROW
        weight = without_dead_columns(problem).weight  # one whose input is always 0 must not be the largest
        return magr(weight, problem.hessian, problem.grid.width(weight.shape[1]), strength, self.iterations)


def magr(weight: Tensor, hessian: Tensor, width: int, alpha: float, iterations: int) -> Tensor:
    """``V [m, n]`` for ``weight [m, n]``, the maximum taken over groups of ``width`` columns."""
    gradient_map = hessian / largest_eigenvalue(hessian)
    value = weight
    for _ in range(iterations):
        moved = value - (value - weight) @ gradient_map
        value = shrink_maximum(moved.unflatten(1, (-1, width)), alpha).flatten(1)
    return value


def largest_eigenvalue(matrix: Tensor, iterations: int = 100) -> Tensor:
    """Of a symmetric positive semidefinite matrix, by power iteration, 1 % up: any estimate above half of it will do.

    The start is random, since a structured one may be orthogonal to the eigenvector that is sought.
    """
    start = torch.randn(len(matrix), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector = start.to(matrix)
    for _ in range(iterations):
        vector = matrix @ vector
        vector = vector / vector.norm().clamp(min=1e-30)
    return 1.01 * (vector @ (matrix @ vector)).clamp(min=1e-30)


def shrink_maximum(value: Tensor, alpha: float) -> Tensor:
    """The proximal map of ``α ‖·‖_∞`` over the last axis: ``v`` minus its projection onto the ℓ1 ball of radius α."""
    return value - project_l1(value, alpha)


def project_l1(value: Tensor, radius: float) -> Tensor:
    """Euclidean projection of each last-axis vector onto the ℓ1 ball."""
    size = value.abs()
    ordered = size.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - radius
    count = torch.arange(1, value.shape[-1] + 1, device=value.device, dtype=value.dtype)
    active = (ordered * count > excess).sum(-1, keepdim=True).clamp(min=1)  # none where the radius is below rounding
    threshold = excess.gather(-1, active - 1) / active
    shrunk = value.sign() * (size - threshold).clamp(min=0)
    return torch.where(size.sum(-1, keepdim=True) <= radius, value, shrunk)
