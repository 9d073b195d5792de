"""The proxy loss ``tr(ΔW H ΔWᵀ)``: the mean squared error of a linear's output on the calibration tokens."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ptqbench.linalg.halves import split
from ptqbench.linalg.product import Parts, by_parts, in_units, parts, tensor_cores

BLOCK = 1024  # columns of a triangle that are multiplied at once
ERROR, LEAST_ERROR = 3e-3, 1e-6  # of a row's quick loss if all inputs were alike, and of any sum's
FEWEST = 1024  # rows over which the quick loss's errors are left to average out
ROWS = 16384  # taken at once, so that what is between the products is small
TINY = 1e-30


class Correlations(NamedTuple):
    """``H = diag(root) C diag(root)``: ``root [n]`` float32, and C above its diagonal, float16 ``[n, n]``.

    Of ``above`` only what is read is set: blocks of ``BLOCK`` columns from the top to the diagonal's block.
    """

    root: Tensor
    above: Tensor


def proxy_loss(delta: Tensor, hessian: Tensor, exact: bool = False) -> Tensor:
    """Per row ``δ H δᵀ`` of ``delta [m, n]`` for ``hessian [n, n]`` = XᵀX / tokens; float64 sum, ``[m]``.

    A GPU takes it by :func:`quick_loss`, to measure, not to tell apart what is closer than :func:`quick_error`; by
    :func:`exact_loss` if ``exact``, and where rows are few. Where a gradient is wanted, its products are tf32.
    """
    if not by_parts(delta):
        return ((delta @ hessian) * delta).sum(1, dtype=torch.float64)
    if delta.requires_grad:
        with tensor_cores():
            return ((delta @ hessian) * delta).sum(1, dtype=torch.float64)
    if exact or len(delta) < FEWEST:
        return torch.cat([exact_loss(part, hessian) for part in delta.split(ROWS)])
    known = correlations(hessian)
    return torch.cat([quick_loss(part, known) for part in delta.split(ROWS)])


def quick_error(rows: int, hessian: Tensor) -> float:
    """What the quick loss of so many rows may be off by, relative: each with either sign.

    Correlations and errors are rounded at random, so that it is in proportion to ``|H| / tr H`` off the diagonal (0 for
    white inputs, 1 if all are alike). The tests hold four kinds of H at three step sizes against it.
    """
    diagonal = hessian.diagonal()
    beside = hessian.norm().square() - diagonal.norm().square()
    spread = beside.clamp(min=0).sqrt() / diagonal.sum().clamp(min=TINY)
    return LEAST_ERROR + ERROR * spread.item() / math.sqrt(rows)


def correlations(hessian: Tensor) -> Correlations:
    """What the quick loss needs of ``hessian [n, n]``; a column that is always 0 correlates with none."""
    root, above = hessian.diagonal().clamp(min=0).sqrt(), torch.empty_like(hessian, dtype=torch.float16)
    for begin in range(0, len(hessian), BLOCK):
        end = min(begin + BLOCK, len(hessian))
        above[:end, begin:end] = correlated_above(hessian, root, begin, end)
    return Correlations(root, above)


def correlated_above(hessian: Tensor, root: Tensor, begin: int, end: int) -> Tensor:
    """Columns ``begin`` to ``end`` of C, 0 on and below the diagonal, in H's dtype ``[end, end - begin]``."""
    live = torch.where(root > 0, root, 1.0)
    block = (hessian[:end, begin:end] / live[begin:end]).div_(live[:end, None])
    block[begin:].triu_(1)
    return block


def quick_loss(delta: Tensor, known: Correlations) -> Tensor:
    """:func:`proxy_loss` with float16 products of one triangle; what the diagonal gives is float32.

    Products are off by 2⁻¹¹ with either sign, which the sum over a site averages out: ``benchmarks/gpu.py`` prints what
    is left.
    """
    unit = (torch.linalg.vector_norm(delta, float("inf"), 0) * known.root).amax().clamp(min=TINY)
    scaled = delta * (known.root / unit)
    own = torch.linalg.vector_norm(scaled, dim=1).double().square()
    return (own + correlated(scaled.half(), known.above)) * unit.double().square()


def correlated(half: Tensor, above: Tensor) -> Tensor:
    """``Σ_jk x_j C_jk x_k`` over ``j ≠ k`` of each row x of ``half [m, n]``, from ``above [n, n]``; float64 ``[m]``."""
    total = torch.zeros(len(half), dtype=torch.float64, device=half.device)
    for begin in range(0, len(above), BLOCK):
        end = min(begin + BLOCK, len(above))
        total += ((half[:, :end] @ above[:end, begin:end]) * half[:, begin:end]).sum(1, dtype=torch.float32)
    return 2 * total


def exact_loss(delta: Tensor, hessian: Tensor) -> Tensor:
    """:func:`proxy_loss` of one triangle with products by parts: as accurate as float32's, to decide by."""
    root, one = hessian.diagonal().clamp(min=0).sqrt(), hessian.new_ones(())
    scaled = delta * root
    (high, low, unit), above = parts(scaled, 1), torch.zeros(len(delta), dtype=torch.float64, device=delta.device)
    for begin in range(0, len(hessian), BLOCK):
        end = min(begin + BLOCK, len(hessian))
        block = Parts(*split(correlated_above(hessian, root, begin, end), one), one)
        found = in_units(Parts(high[:, :end], low[:, :end], unit), block)
        above += found.mul_(scaled[:, begin:end]).sum(1, dtype=torch.float64)
    return scaled.square_().sum(1, dtype=torch.float64) + 2 * above * unit[:, 0]
