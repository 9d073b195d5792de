"""How far apart two models' predictions are."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def divergence(reference: Tensor, other: Tensor) -> Tensor:
    """``KL(p || q)`` in nats of each token, ``[…]``, for logits ``[…, vocabulary]`` of p (reference) and q."""
    p, q = (F.log_softmax(logits.double(), -1) for logits in (reference, other))
    return (p.exp() * (p - q)).sum(-1)
