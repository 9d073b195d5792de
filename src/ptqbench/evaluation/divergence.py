"""How far one model's predictions are from another's, token by token: pure functions on logits, in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptqbench.linalg.divergence import log_probabilities, relative_entropy

AT_ONCE = 2**20  # numbers of a float64 copy: 8 MiB, which a cache holds, are twice as fast as 64
ROUNDED = 1e-6  # what the sum of probabilities that came as float32 may be short of


class Change(NamedTuple):
    """Of every token, float64 ``[t]``: KL in nats, 1 where the likeliest token is the same, and what the probability
    of the token that came changed by.
    """

    divergence: Tensor
    same_top: Tensor
    shift: Tensor


class Top(NamedTuple):
    """The likeliest tokens ``[t, k]`` by a server, with their log-probabilities; -inf where it named fewer.

    The token that came is among them.
    """

    tokens: Tensor
    logprobs: Tensor


def change(reference: Tensor, other: Tensor | Top, targets: Tensor) -> Change:
    """Of logits ``reference [t, vocabulary]`` to ``other``, with the tokens ``targets [t]`` that came.

    The KL to a :class:`Top` is a lower bound.
    """
    size = max(1, AT_ONCE // reference.shape[-1])
    parts = []
    for start in range(0, len(targets), size):
        rows = slice(start, start + size)
        if isinstance(other, Tensor):
            parts.append(exact(reference[rows], other[rows], targets[rows]))
        else:
            parts.append(bounded(reference[rows], Top(*(one[rows] for one in other)), targets[rows]))
    return Change(*(torch.cat(one).cpu() for one in zip(*parts, strict=True)))


def exact(reference: Tensor, other: Tensor, targets: Tensor) -> Change:
    """``KL(p || q) = Σ p (log p - log q)`` of logits ``[t, vocabulary]`` of p (reference) and q."""
    p, q = log_probabilities(reference), log_probabilities(other)
    came = targets[:, None]
    shift = q.gather(1, came).exp() - p.gather(1, came).exp()
    same = reference.argmax(-1) == other.argmax(-1)
    return Change(relative_entropy(p, q), same.double(), shift[:, 0])


def bounded(reference: Tensor, other: Top, targets: Tensor) -> Change:
    """The same of what a server names of q: all other tokens are one, of which the log-sum inequality makes a bound.

    ``Σ p log(p / q) >= (Σ p) log(Σ p / Σ q)`` over any tokens (Cover and Thomas, theorem 2.7.1). What is left for the
    others is never taken for less than it is, so that rounding makes no bound too high.
    """
    p = log_probabilities(reference)
    named, q = other.logprobs > -torch.inf, other.logprobs.double()
    own = p.gather(1, other.tokens)
    parts = torch.where(named, own.exp() * (own - q), 0.0).sum(-1)
    rest_p = (1 - torch.where(named, own.exp(), 0.0).sum(-1)).clamp(min=0)
    rest_q = (1 - q.exp().sum(-1)).clamp(min=0) + ROUNDED
    rest = torch.special.xlogy(rest_p, rest_p / rest_q)
    came = targets[:, None]
    shift = torch.where(other.tokens == came, q, -torch.inf).amax(-1).exp() - p.gather(1, came)[:, 0].exp()
    first = other.tokens.gather(1, q.argmax(-1, keepdim=True))[:, 0]
    return Change((parts + rest).clamp(min=0), (reference.argmax(-1) == first).double(), shift)
