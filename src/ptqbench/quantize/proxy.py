"""The proxy loss ``tr(ΔW H ΔWᵀ)``: the mean squared error of a linear's output on the calibration tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def proxy_loss(delta: Tensor, hessian: Tensor) -> Tensor:
    """Per row ``δ H δᵀ`` of ``delta [m, n]`` for ``hessian [n, n]`` = XᵀX / tokens; float64 sum, ``[m]``."""
    return ((delta @ hessian) * delta).sum(1, dtype=torch.float64)
