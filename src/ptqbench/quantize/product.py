"""Products of float32 matrices on tensor cores, as accurate as float32's own.

Each factor is the sum of two numbers that tf32 holds, up to 2⁻²¹ of it; of their four products the smallest is left
out. Three tf32 products are several times as fast as one float32 product on GPUs that have tensor cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

DROPPED = 13  # bits of float32's fraction that tf32 lacks


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` for ``a [m, k]`` and ``b [k, n]``; by parts on a GPU, in the factors' own dtype elsewhere."""
    if not a.is_cuda or a.dtype != torch.float32:
        return a @ b
    return add_parts(a.new_zeros(len(a), b.shape[1]), a, b)


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a @ b`` to ``out [m, n]`` in place."""
    if out.is_cuda and out.dtype == torch.float32:
        add_parts(out, a, b)
    else:
        out.addmm_(a, b)


def add_parts(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add ``a @ b`` to ``out`` by three products of parts, the small ones first."""
    (high_a, low_a), (high_b, low_b) = parts(a), parts(b)
    with tensor_cores():
        out.addmm_(high_a, low_b)
        out.addmm_(low_a, high_b)
        return out.addmm_(high_a, high_b)


def parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` as the nearest number that tf32 holds and the rest; both contiguous float32."""
    bits = x.contiguous().view(torch.int32)
    high = ((bits + (1 << (DROPPED - 1))) & -(1 << DROPPED)).view(torch.float32)
    return high, x - high


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Let float32 products use tf32 while the context is open."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
