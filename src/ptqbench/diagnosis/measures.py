"""What tells why a layer suffers: pure functions on tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OUTLIER = 6.0  # a channel this many times the median is an outlier, as in LLM.int8() (arXiv 2208.07339)


def kurtosis(values: Tensor) -> float:
    """Fourth standardized moment of all ``values``: 3 for a normal distribution, larger with heavy tails."""
    centred = values.double() - values.double().mean()
    variance = centred.square().mean()
    return float(centred.pow(4).mean() / variance.clamp(min=1e-30) ** 2) if variance > 0 else 0.0


def reach(groups: Tensor) -> float:
    """Mean over groups ``[…, width]`` of ``max |w| / rms``: how far the grid must span for the typical weight."""
    size = groups.double()
    return float((size.abs().amax(-1) / size.square().mean(-1).sqrt().clamp(min=1e-30)).mean())


def channel_size(hessian: Tensor) -> Tensor:
    """Root mean square of each input channel, ``[n]``, from ``H = XᵀX / tokens``."""
    return hessian.diagonal().double().clamp(min=0).sqrt()


def outliers(size: Tensor) -> tuple[int, float]:
    """Channels larger than :data:`OUTLIER` times the median of ``size [n]``, and the largest over the median."""
    median = size.median().clamp(min=1e-30)
    return int((size > OUTLIER * median).sum()), float(size.max() / median)


def conditioning(hessian: Tensor) -> tuple[float, float]:
    """Condition number of H (inf where it is singular in float32) and its effective rank ``tr(H)² / tr(H²)``."""
    values = torch.linalg.eigvalsh(hessian.double())
    largest, smallest = float(values[-1]), float(values[0])
    rank = float(hessian.diagonal().double().sum() ** 2 / hessian.double().square().sum().clamp(min=1e-30))
    floor = largest * torch.finfo(torch.float32).eps
    return (largest / smallest if smallest > floor else math.inf), rank


def code_entropy(codes: Tensor, bits: int) -> float:
    """Entropy of the codes in bits; ``bits`` where every code is as frequent."""
    counts = torch.bincount(codes.flatten().long(), minlength=2**bits).double()
    share = counts[counts > 0] / counts.sum()
    return float(-(share * share.log2()).sum())


def levels_used(codes: Tensor, width: int, bits: int) -> float:
    """Mean over groups of ``width`` columns of the share of the ``2^bits`` levels that occur, for codes ``[m, n]``."""
    grouped = codes.unflatten(1, (-1, width)).long()
    present = [(grouped == level).any(-1) for level in range(2**bits)]
    return float(torch.stack(present).double().sum(0).mean() / min(2**bits, width))


def edge_share(codes: Tensor, edges: tuple[int, int]) -> float:
    """Share of codes at either end of the grid, where clipping ends up."""
    return float(((codes == edges[0]) | (codes == edges[1])).double().mean())
