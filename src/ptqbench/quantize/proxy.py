"""The proxy loss ``tr(ΔW H ΔWᵀ)``: the mean squared error of a linear's output on the calibration tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

BLOCK = 2048
ROWS = 16384  # taken at once, so that what is between the products is small


def proxy_loss(delta: Tensor, hessian: Tensor) -> Tensor:
    """Per row ``δ H δᵀ`` of ``delta [m, n]`` for ``hessian [n, n]`` = XᵀX / tokens; float64 sum, ``[m]``.

    A GPU multiplies one triangle, in tf32 but for the diagonal: this measures, it decides no code. Products are off by
    2⁻¹¹ with either sign, the sum by less than 1e-4 (``benchmarks/gpu.py`` prints by how much).
    """
    if not delta.is_cuda or delta.dtype != torch.float32:
        return ((delta @ hessian) * delta).sum(1, dtype=torch.float64)
    if len(delta) > ROWS:
        return torch.cat([proxy_loss(part, hessian) for part in delta.split(ROWS)])
    total = (delta.square() * hessian.diagonal()).sum(1, dtype=torch.float64)
    with tensor_cores():
        for begin in range(0, len(hessian), BLOCK):
            own = slice(begin, begin + BLOCK)
            product = delta[:, own] @ hessian[own, own].triu(1)
            if begin:
                product = product + delta[:, :begin] @ hessian[:begin, own]
            total = total + 2 * (product * delta[:, own]).sum(1, dtype=torch.float64)
    return total


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Let float32 products use tf32 while the context is open."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
