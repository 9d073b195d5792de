"""How far apart two models' predictions are, in float64."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def divergence(reference: Tensor, other: Tensor) -> Tensor:
    """``KL(p || q)`` in nats of each token, ``[…]``, for logits ``[…, vocabulary]`` of p (reference) and q."""
    return relative_entropy(log_probabilities(reference), log_probabilities(other))


def log_probabilities(logits: Tensor) -> Tensor:
    """Of logits ``[…, vocabulary]``."""
    return F.log_softmax(logits.double(), -1)


def relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    """``Σ p (log p - log q)`` of log-probabilities ``[…, vocabulary]``."""
    return (p.exp() * (p - q)).sum(-1)
