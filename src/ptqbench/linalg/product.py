"""Products of float32 matrices on tensor cores, as accurate as float32's own.

Each factor, in units of the largest number of its row (or column), is the sum of two float16 numbers, up to 2⁻²² of it;
of their four products the smallest is left out, and sums are float32. Float16 rather than tf32: it has as many bits,
is twice as fast, and is so for transposed factors too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ptqbench.linalg.halves import LIFT, split

TINY = 1e-30
DEPTH = 4096  # terms that a tensor core sums: it truncates where float32 would round


class Parts(NamedTuple):
    """``x = unit (high + low / LIFT)``: float16 of x's shape, and ``unit`` float32, 1 long in one dimension."""

    high: Tensor
    low: Tensor
    unit: Tensor


def product(a: Tensor, held: Tensor | Parts) -> Tensor:
    """``a @ b`` for ``a [m, k]`` and a held ``b [k, n]``; by parts on a GPU, in the factors' own dtype elsewhere."""
    return multiply(parts(a, 1), held) if isinstance(held, Parts) else a @ held


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a @ b`` to ``out [m, n]`` in place."""
    if by_parts(out):
        left, right = parts(a, 1), parts(b, 0)
        out.addcmul_(in_units(left, right).mul_(left.unit), right.unit)
    else:
        out.addmm_(a, b)


def hold(b: Tensor) -> Tensor | Parts:
    """``b [k, n]`` for products in which only some of its rows change from one to the next."""
    return parts(b, 0) if by_parts(b) else b


def put(held: Tensor | Parts, rows: slice, b: Tensor) -> None:
    """Replace rows of a held factor by ``b``."""
    if isinstance(held, Parts):
        split(b, held.unit, (held.high[rows], held.low[rows]))
    else:
        held[rows] = b


def by_parts(x: Tensor) -> bool:
    """Whether products are taken by parts."""
    return x.is_cuda and x.dtype == torch.float32


def parts(x: Tensor, dim: int) -> Parts:
    """The parts of ``x`` in units of the largest along ``dim``, which a product with it sums over."""
    unit = torch.linalg.vector_norm(x, float("inf"), dim, keepdim=True).clamp(min=TINY)
    return Parts(*split(x, unit), unit)


def multiply(a: Parts, b: Parts) -> Tensor:
    """The product of ``a [m, k]``, in units of its rows, and ``b [k, n]``, in units of its columns; float32."""
    return in_units(a, b).mul_(a.unit).mul_(b.unit)


def in_units(a: Parts, b: Parts) -> Tensor:
    """The product of :func:`multiply` before its rows and columns get their units."""
    deep = [slice(begin, begin + DEPTH) for begin in range(0, len(b.high), DEPTH)]
    total = summed(a, b, deep[0])
    for terms in deep[1:]:
        total.add_(summed(a, b, terms))
    return total


def summed(a: Parts, b: Parts, terms: slice) -> Tensor:
    """Some terms of it: the small products need no more than float16, of which ``LIFT`` is taken back."""
    rest = a.high[:, terms] @ b.low[terms]
    rest.addmm_(a.low[:, terms], b.high[terms])
    return wide(a.high[:, terms], b.high[terms]).add_(rest, alpha=1 / LIFT)


def wide(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of float16 factors, in float32."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Let float32 products use tf32 while the context is open."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
