"""The factors that GPTQ and its relatives feed errors back with, and the damping ladder around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LADDER = 10.0
SMALLEST_DAMP, LARGEST_DAMP = 1e-4, 1.0
ROWS, CHUNK = 2048, 1 << 26  # of what is copied at once, so that no second matrix is held


@dataclass
class Factor:
    """``upper`` is ``R`` with ``H + λI = R Rᵀ`` in processing order, or None if no damping made H positive definite.

    ``damp`` is λ relative to the mean of the diagonal; ``attempts`` counts factorizations; ``sound`` says on the device
    whether a factor that was trusted is one.
    """

    upper: Tensor | None
    damp: float
    attempts: int
    dtype: str
    sound: Tensor | None = None


def upper_factor(hessian: Tensor, order: Tensor | None, diagonal: Tensor, damp: float, trusted: bool = False) -> Factor:
    """``R`` of the damped Hessian ``[n, n]`` with its columns in ``order`` (None: as they are), in its dtype.

    ``diagonal [n]`` replaces H's own. On failure float64 is tried, then λ grows tenfold. With ``J`` the reversal,
    ``J H J = L Lᵀ`` gives ``R = J L J``: one Cholesky factorization. ``(H + λI)⁻¹ = UᵀU`` with GPTQ's ``U = R⁻¹``, and
    neither of the two inverses is needed: see :func:`feedback`.

    ``trusted``: the first factorization is taken unseen, so that nobody waits for it; ``sound`` says whether it was
    one. Where it was not, what was made of it is worth nothing, and is to be made again without trust.
    """
    if trusted:
        upper, sound = _factor(hessian, order, diagonal, damp, hessian.dtype)
        return Factor(upper, damp, 1, str(hessian.dtype).removeprefix("torch."), sound)
    attempts, step = 0, damp
    while not attempts or step <= LARGEST_DAMP:
        for dtype in dict.fromkeys((hessian.dtype, torch.float64)):
            attempts += 1
            upper, sound = _factor(hessian, order, diagonal, step, dtype)
            if sound:
                return Factor(upper.to(hessian.dtype), step, attempts, str(dtype).removeprefix("torch."))
        step = step * LADDER if step > 0 else SMALLEST_DAMP
    return Factor(None, damp, attempts, "float64")


def feedback(upper: Tensor) -> tuple[Tensor, Tensor]:
    """``I + A [n, n]`` and the diagonal ``[n]`` of D with ``H = (I + A) D (I + A)ᵀ``; ``upper`` is overwritten.

    Column j is best rounded at ``w_j + Σ_i<j (w_i - ŵ_i) A_ij`` (QuIP, arXiv 2307.13304, theorem 6: GPTQ's codes).
    """
    roots = upper.diagonal().clone()
    return upper.div_(roots), roots.square_()


def inverse(upper: Tensor) -> Tensor:
    """GPTQ's ``U = R⁻¹``."""
    identity = torch.eye(len(upper), dtype=upper.dtype, device=upper.device)
    return torch.linalg.solve_triangular(upper, identity, upper=True)


def _factor(
    hessian: Tensor, order: Tensor | None, diagonal: Tensor, damp: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    matrix = torch.empty_like(hessian, dtype=dtype)
    backwards = None if order is None else order.flip(0)
    for begin in range(0, len(hessian), ROWS):
        rows = matrix[begin : begin + ROWS]
        if backwards is None:
            rows.copy_(hessian[len(hessian) - begin - len(rows) : len(hessian) - begin].flip(0, 1))
        else:
            rows.copy_(hessian[backwards[begin : begin + ROWS]][:, backwards])
    turned = diagonal.flip(0) if backwards is None else diagonal[backwards]
    matrix.diagonal().copy_(turned.to(dtype) + damp * diagonal.mean())
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    lower = matrix.mT  # column-major, as the solver wants it: factored in place, the faster triangle on a GPU
    torch.linalg.cholesky_ex(lower, out=(lower, info))
    reverse(matrix.view(-1))
    return lower, (info == 0) & torch.isfinite(matrix.diagonal()).all()


def reverse(values: Tensor) -> None:
    """Turn ``[n]`` around in place, a chunk at a time."""
    n = len(values)
    for begin in range(0, n // 2, CHUNK):
        stop = min(begin + CHUNK, n // 2)
        head = values[begin:stop].flip(0)
        values[begin:stop] = values[n - stop : n - begin].flip(0)
        values[n - stop : n - begin] = head
