"""MagR (arXiv 2406.00800): shrink each row's largest weight where that hardly changes the output.

``min_V ½ tr((V - W) H (V - W)ᵀ) + α ‖V‖_∞`` per row or group by proximal gradient, with ``H`` scaled to a largest
eigenvalue of one. It changes the model's function a little, so the loss is reported against the original weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.methods.problem import Problem, without_dead_columns

STRATEGY = "optimization"
NEEDS: dict = {"model_weight": {}}
BREAKS: dict = {"model_weight": {}}
DEFAULTS = {"alpha": None, "iterations": 200}
PARAMETERS = {
    "alpha": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "iterations": {"type": "integer", "minimum": 1, "maximum": 10000},
}
ALPHA_PER_ROW, ALPHA_PER_GROUP = 1e-3, 1e-4


def reshape(problem: Problem, alpha: float | None, iterations: int) -> Tensor:
    """The weight to round instead of ``problem.weight``; alpha defaults to the paper's for the granularity."""
    grouped = problem.grid.group_size != -1
    strength = alpha if alpha is not None else ALPHA_PER_GROUP if grouped else ALPHA_PER_ROW
    weight = without_dead_columns(problem).weight  # one whose input is always 0 must not be the largest
    return magr(weight, problem.hessian, problem.grid.width(weight.shape[1]), strength, iterations)


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
