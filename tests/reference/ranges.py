"""Ranges of one group, by loops: each takes the group's values and its block of the Hessian, returns its two ends."""

from __future__ import annotations

from collections.abc import Callable

from reference.grid import decode, encode, fit

Vector = list[float]
Matrix = list[list[float]]
Range = Callable[[Vector, Matrix, int, bool], tuple[float, float]]


def minmax(values: Vector, block: Matrix, bits: int, symmetric: bool) -> tuple[float, float]:
    """The least and the largest value."""
    return min(values), max(values)


def rms(values: Vector, block: Matrix, bits: int, symmetric: bool) -> tuple[float, float]:
    """± 2.4 root mean squares."""
    reach = 2.4 * (sum(x * x for x in values) / len(values)) ** 0.5
    return -reach, reach


def mse(values: Vector, block: Matrix, bits: int, symmetric: bool) -> tuple[float, float]:
    """Of 80 ranges, from the full one down to 21 % of it, the one of least ``Σ |error|^2.4``."""

    def loss(errors: Vector) -> float:
        return sum(abs(error) ** 2.4 for error in errors)

    return _best([1 - i / 100 for i in range(80)], loss, values, bits, symmetric)


def search(values: Vector, block: Matrix, bits: int, symmetric: bool) -> tuple[float, float]:
    """Of 10 ranges, from the full one down to 55 % of it, the one of least output error ``δ H δᵀ``."""

    def loss(errors: Vector) -> float:
        return sum(a * block[i][j] * b for i, a in enumerate(errors) for j, b in enumerate(errors))

    return _best([1 - i / 20 for i in range(10)], loss, values, bits, symmetric)


def _best(
    shrinks: Vector, loss: Callable[[Vector], float], values: Vector, bits: int, symmetric: bool
) -> tuple[float, float]:
    found = None
    for shrink in shrinks:
        low, high = min(values) * shrink, max(values) * shrink
        scale, zero = fit(low, high, bits, symmetric)
        error = loss([decode(encode(x, scale, zero, bits), scale, zero) - x for x in values])
        if found is None or error < found[0]:
            found = error, (low, high)
    assert found is not None
    return found[1]
