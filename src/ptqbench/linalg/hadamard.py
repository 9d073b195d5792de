"""Hadamard matrices of any order that Sylvester's and Paley's constructions reach; built, not tabulated."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor


def order_of(n: int) -> int | None:
    """The smallest K with ``n / K`` a power of two and a Hadamard matrix of order K in reach; None if there is none."""
    k = n
    while k % 2 == 0:
        k //= 2
    while n % k == 0:
        if _constructible(k):
            return k
        k *= 2
    return None


@lru_cache
def core(k: int) -> Tensor:
    """A Hadamard matrix of order ``k``, ±1 in float64: ``core @ core.T == k I``."""
    if k == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if k == 2:
        return torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    if _power(k - 1) and (k - 1) % 4 == 3:  # Paley I
        return torch.eye(k, dtype=torch.float64) + _bordered(k - 1, -1.0)
    symmetric = _bordered(k // 2 - 1, 1.0)  # Paley II
    one = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    two = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    return torch.kron(symmetric, one) + torch.kron(torch.eye(k // 2, dtype=torch.float64), two)


def walsh_hadamard(x: Tensor) -> Tensor:
    """``x @ H`` for Sylvester's H of the last axis (a power of two), without scaling; H is symmetric.

    H of order ``a b`` is ``H_a ⊗ H_b``: two products with small matrices instead of log n passes over x.
    """
    power = x.shape[-1].bit_length() - 1
    left, right = (sylvester(2**half, x.dtype, x.device) for half in (power // 2, power - power // 2))
    return (left @ (x.unflatten(-1, (len(left), len(right))) @ right)).flatten(-2)


@lru_cache
def sylvester(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sylvester's Hadamard matrix of order ``n`` (a power of two)."""
    matrix = core(1)
    while len(matrix) < n:
        matrix = torch.kron(core(2), matrix)
    return matrix.to(device, dtype)


def _constructible(k: int) -> bool:
    if k in (1, 2):
        return True
    first = (k - 1) % 4 == 3 and _power(k - 1) is not None
    second = k % 4 == 0 and (k // 2 - 1) % 4 == 1 and _power(k // 2 - 1) is not None
    return first or second


def _power(q: int) -> tuple[int, int] | None:
    """``(p, e)`` with ``q = p^e``, p prime and e at most 3 (an irreducible cubic is one without roots)."""
    if q < 2:
        return None
    p = next((d for d in range(2, int(q**0.5) + 1) if q % d == 0), q)
    exponent, rest = 0, q
    while rest % p == 0:
        rest //= p
        exponent += 1
    return (p, exponent) if rest == 1 and exponent <= 3 else None


def _bordered(q: int, sign: float) -> Tensor:
    """The quadratic residues' matrix ``Q[a, b] = χ(a - b)`` over GF(q), bordered by ones and ``sign``."""
    character = _character(q)
    matrix = torch.zeros(q + 1, q + 1, dtype=torch.float64)
    matrix[0, 1:], matrix[1:, 0] = 1.0, sign
    matrix[1:, 1:] = character
    return matrix


def _character(q: int) -> Tensor:
    found = _power(q)
    assert found is not None
    p, exponent = found
    elements = list(product(range(p), repeat=exponent))
    modulus = _irreducible(p, exponent)
    squares = {_times(a, a, modulus, p) for a in elements[1:]}
    index = {element: (0.0 if not any(element) else 1.0 if element in squares else -1.0) for element in elements}
    rows = [[index[tuple((x - y) % p for x, y in zip(a, b, strict=True))] for b in elements] for a in elements]
    return torch.tensor(rows, dtype=torch.float64)


def _irreducible(p: int, degree: int) -> tuple[int, ...]:
    """Low coefficients of a monic polynomial without roots in GF(p), lowest power first."""
    if degree == 1:
        return (0,)
    for low in product(range(p), repeat=degree):
        if all((sum(c * x**i for i, c in enumerate(low)) + x**degree) % p for x in range(p)):
            return low
    raise AssertionError("every finite field has an irreducible polynomial")


def _times(a: tuple[int, ...], b: tuple[int, ...], modulus: tuple[int, ...], p: int) -> tuple[int, ...]:
    degree = len(a)
    if degree == 1:
        return ((a[0] * b[0]) % p,)
    result = [0] * (2 * degree - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            result[i + j] += x * y
    for top in range(2 * degree - 2, degree - 1, -1):
        for i, c in enumerate(modulus):
            result[top - degree + i] -= result[top] * c
    return tuple(value % p for value in result[:degree])
