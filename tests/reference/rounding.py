"""Rounding methods row by row, column by column, in float64: from defining formulas, not from their fast forms.

Every function returns codes ``[m][n]`` and ``(scale, zero)`` by row and group. ``weight`` and ``hessian`` are NumPy
float64; ``width`` is the number of columns of a group.
"""

from __future__ import annotations

import numpy as np
from reference.grid import decode, encode, fit
from reference.ranges import Range

Codes = list[list[int]]
Grids = list[list[tuple[float, int]]]


def grids(weight: np.ndarray, hessian: np.ndarray, bits: int, width: int, symmetric: bool, bounds: Range) -> Grids:
    """Scale and zero-point of every row and group."""
    return [
        [
            group_grid(row[start : start + width], hessian, start, bits, symmetric, bounds)
            for start in range(0, len(row), width)
        ]
        for row in weight
    ]


def group_grid(
    values: np.ndarray, hessian: np.ndarray, start: int, bits: int, symmetric: bool, bounds: Range
) -> tuple[float, int]:
    """Scale and zero-point of one group that starts at column ``start``."""
    stop = start + len(values)
    return fit(*bounds(values.tolist(), hessian[start:stop, start:stop].tolist(), bits, symmetric), bits, symmetric)


def nearest(
    weight: np.ndarray, hessian: np.ndarray, bits: int, width: int, symmetric: bool, bounds: Range
) -> tuple[Codes, Grids]:
    """Each weight by itself."""
    fitted = grids(weight, hessian, bits, width, symmetric, bounds)
    codes = [
        [encode(float(w), *fitted[i][j // width], bits) for j, w in enumerate(row)] for i, row in enumerate(weight)
    ]
    return codes, fitted


def damped(hessian: np.ndarray, damp: float) -> np.ndarray:
    """``H + damp · mean(diag H) · I``, the mean over columns whose input was not always 0."""
    live = [value for value in np.diag(hessian) if value != 0]
    return hessian + damp * np.mean(live) * np.eye(len(hessian))


def activity_order(hessian: np.ndarray, act_order: bool) -> list[int]:
    """Columns by falling diagonal, equal ones as they come; or simply as they come."""
    columns = list(range(len(hessian)))
    return sorted(columns, key=lambda j: -hessian[j, j]) if act_order else columns


def gptq(
    weight: np.ndarray,
    hessian: np.ndarray,
    bits: int,
    width: int,
    symmetric: bool,
    bounds: Range,
    damp: float,
    act_order: bool,
    static_groups: bool,
) -> tuple[Codes, Grids]:
    """Optimal brain surgeon: round a weight, then move the remaining ones to the minimum of the quadratic form.

    The inverse of the remaining Hessian is formed anew at every step; no factorization is used.
    """
    order, h = activity_order(hessian, act_order), damped(hessian, damp)
    fitted = grids(weight, hessian, bits, width, symmetric, bounds)
    codes = [[0] * weight.shape[1] for _ in weight]
    for i, row in enumerate(weight):
        row = row.copy()
        for step, j in enumerate(order):
            if not static_groups and not act_order and j % width == 0:
                fitted[i][j // width] = group_grid(row[j : j + width], hessian, j, bits, symmetric, bounds)
            scale, zero = fitted[i][j // width]
            codes[i][j] = encode(float(row[j]), scale, zero, bits)
            left = order[step:]
            inverse = np.linalg.inv(h[np.ix_(left, left)])
            error = (row[j] - decode(codes[i][j], scale, zero)) / inverse[0, 0]
            for position, k in enumerate(left[1:], start=1):
                row[k] -= error * inverse[position, 0]
    return codes, fitted


def gptaq(
    weight: np.ndarray,
    hessian: np.ndarray,
    cross: np.ndarray,
    bits: int,
    width: int,
    bounds: Range,
    damp: float,
    act_order: bool,
    alpha: float,
) -> Codes:
    """GPTQ with the correction ``w_j P_jk``, ``P = α striu(C Uᵀ) U``, on asymmetric static groups; no blocks."""
    order = activity_order(hessian, act_order)
    h, c = damped(hessian, damp)[np.ix_(order, order)], cross[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    correction = alpha * np.triu(c @ upper.T, 1) @ upper
    fitted = grids(weight, hessian, bits, width, False, bounds)
    codes = [[0] * weight.shape[1] for _ in weight]
    for i, row in enumerate(weight):
        row = row[order].copy()
        for step, j in enumerate(order):
            latent = row[step]
            scale, zero = fitted[i][j // width]
            codes[i][j] = encode(float(latent), scale, zero, bits)
            error = (latent - decode(codes[i][j], scale, zero)) / upper[step, step]
            for later in range(step + 1, len(order)):
                row[later] += latent * correction[step, later] - error * upper[step, later]
    return codes


def unit_upper(hessian: np.ndarray) -> np.ndarray:
    """The unit upper triangular M with ``H = M D Mᵀ``, D diagonal, one entry at a time from the last column."""
    n = len(hessian)
    m, d = np.eye(n), np.zeros(n)
    for j in reversed(range(n)):
        d[j] = hessian[j, j] - sum(m[j, k] ** 2 * d[k] for k in range(j + 1, n))
        for i in range(j):
            m[i, j] = (hessian[i, j] - sum(m[i, k] * m[j, k] * d[k] for k in range(j + 1, n))) / d[j]
    return m


def ldlq(
    weight: np.ndarray,
    hessian: np.ndarray,
    bits: int,
    width: int,
    symmetric: bool,
    bounds: Range,
    damp: float,
    act_order: bool,
    passes: int,
) -> tuple[Codes, Grids]:
    """``ŵ_j = Q(w_j + Σ_{i<j} (w_i - ŵ_i) A_ij)``, then passes that try every code of every weight."""
    order, h = activity_order(hessian, act_order), damped(hessian, damp)
    linear = unit_upper(h[np.ix_(order, order)]) - np.eye(len(order))
    fitted = grids(weight, hessian, bits, width, symmetric, bounds)
    codes = [[0] * weight.shape[1] for _ in weight]
    for i, row in enumerate(weight):
        values = np.zeros(len(row))
        for step, j in enumerate(order):
            done = order[:step]
            target = row[j] + sum((row[k] - values[k]) * linear[position, step] for position, k in enumerate(done))
            codes[i][j] = encode(float(target), *fitted[i][j // width], bits)
            values[j] = decode(codes[i][j], *fitted[i][j // width])
        for _ in range(passes):
            greedy_pass(row, codes[i], fitted[i], h, bits, width, order)
    return codes, fitted


def greedy_pass(
    row: np.ndarray,
    codes: list[int],
    fitted: list[tuple[float, int]],
    hessian: np.ndarray,
    bits: int,
    width: int,
    order: list[int],
) -> None:
    """Set each code in turn to the one of least ``δ H δᵀ`` among all, with the others fixed."""
    values = np.array([decode(code, *fitted[j // width]) for j, code in enumerate(codes)])
    for j in order:
        losses = []
        for code in range(2**bits):
            values[j] = decode(code, *fitted[j // width])
            delta = row - values
            losses.append(delta @ hessian @ delta)
        codes[j] = int(np.argmin(losses))
        values[j] = decode(codes[j], *fitted[j // width])
