"""MagR's proximal gradient, one row at a time."""

from __future__ import annotations

import numpy as np


def shrink_maximum(values: list[float], alpha: float) -> list[float]:
    """``argmin_u ½ ‖u - v‖² + α ‖u‖_∞``: clip at the level t with ``Σ max(|v| - t, 0) = α``, found by bisection."""
    if sum(abs(v) for v in values) <= alpha:
        return [0.0] * len(values)
    low, high = 0.0, max(abs(v) for v in values)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(max(abs(v) - middle, 0.0) for v in values) > alpha:
            low = middle
        else:
            high = middle
    return [min(max(v, -high), high) for v in values]


def magr(weight: np.ndarray, hessian: np.ndarray, largest: float, width: int, alpha: float, steps: int) -> np.ndarray:
    """``V ← prox(V - (V - W) H / largest)`` over groups of ``width`` columns."""
    rows = []
    for row in weight:
        value = row.copy()
        for _ in range(steps):
            moved = value - (value - row) @ hessian / largest
            groups = [moved[start : start + width].tolist() for start in range(0, len(row), width)]
            value = np.array([v for group in groups for v in shrink_maximum(group, alpha)])
        rows.append(value)
    return np.array(rows)
