"""The factor that GPTQ and its relatives feed errors back with, and the damping ladder around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LADDER = 10.0
SMALLEST_DAMP, LARGEST_DAMP = 1e-4, 1.0


@dataclass
class Factor:
    """``upper`` is ``U`` with ``(H + λI)⁻¹ = UᵀU``, or None if no damping made H positive definite.

    ``damp`` is λ relative to the mean of the diagonal; ``attempts`` counts factorizations.
    """

    upper: Tensor | None
    damp: float
    attempts: int
    dtype: str


def inverse_factor(hessian: Tensor, damp: float) -> Factor:
    """``U`` of the damped Hessian ``[n, n]``, in its dtype; on failure float64 is tried, then λ grows tenfold.

    With ``J`` the reversal, ``J H J = L Lᵀ`` gives ``U = (J L J)⁻¹``: one Cholesky and one triangular solve, and the
    inverse of H is never formed.
    """
    attempts, step = 0, damp
    while not attempts or step <= LARGEST_DAMP:
        for dtype in dict.fromkeys((hessian.dtype, torch.float64)):
            attempts += 1
            upper = _factor(hessian.to(dtype), step)
            if upper is not None:
                return Factor(upper.to(hessian.dtype), step, attempts, str(dtype).removeprefix("torch."))
        step = step * LADDER if step > 0 else SMALLEST_DAMP
    return Factor(None, damp, attempts, "float64")


def _factor(matrix: Tensor, damp: float) -> Tensor | None:
    damped = (matrix + matrix.T) / 2
    damped.diagonal().add_(damp * matrix.diagonal().mean())
    lower, info = torch.linalg.cholesky_ex(damped.flip(0, 1))
    if info.item() != 0:
        return None
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    upper = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
    return upper if bool(torch.isfinite(upper).all()) else None
